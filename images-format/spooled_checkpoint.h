#pragma once

#include <memory>
#include <optional>
#include <string>

#include "images-format/checkpoint_reader.h"
#include "kernel/fd.h"

namespace godwit {

/// A checkpoint that came as a stream. It is copied to a file in $TMPDIR (else /var/tmp), which has no name
/// at first, and may be larger than memory.
///
/// Whoever writes the stream ends the dumped tree when its last page has been read (StreamSink::settle). So
/// that comes when all else has been checked, and the copy has a name under which it outlives us. From then
/// on it is all there is of the tree.
class SpooledCheckpoint {
 public:
  /// Reads all but the last page, and checks all of it: records, references, every page. `stream` is the
  /// caller's; `name` stands in errors. Throws Error, also when cancelled; then the stream's last page is
  /// unread.
  SpooledCheckpoint(int stream, std::string name);
  SpooledCheckpoint(const SpooledCheckpoint&) = delete;
  SpooledCheckpoint& operator=(const SpooledCheckpoint&) = delete;
  /// Keeps the file if it was accepted and not removed.
  ~SpooledCheckpoint();

  [[nodiscard]] const CheckpointImage& image() const { return *image_; }

  /// Gives the copy a name, reads the last page, and waits for the dump's word that it has done with the
  /// tree. Throws Error, also if the stream ends without it: the tree may still run.
  void accept();
  /// The path under which it is kept; empty: it isn't.
  [[nodiscard]] std::string kept() const;
  /// It isn't needed any more.
  void remove() noexcept;

 private:
  class Stream;

  void make_file();
  void give_name();

  std::string directory_path_;
  Fd directory_;
  std::string file_name_;  // empty: it has none
  Fd file_;
  std::unique_ptr<Stream> stream_;
  SectionLayout layout_;
  std::optional<CheckpointImage> image_;
  bool accepted_ = false;
};

}  // namespace godwit
