#pragma once

#include <optional>
#include <string>
#include <vector>

#include "images-format/checkpoint_directory.h"
#include "images-format/page_store.h"

namespace godwit {

/// A directory that somebody else has made, and which may hold files of theirs. The checkpoint's files are
/// made in it as `NAME.partial`, under a lock (flock(2)) of the directory. An older checkpoint there stands
/// aside as `NAME.old` from `publish` until the writer goes; where the new one is taken back, or doesn't come
/// to be, the older one gets its names back. What a writer that was killed left there is mended by the next:
/// the order of all steps is such that whose a file is can be told at any moment.
class GivenDirectory final : public CheckpointDirectory {
 public:
  /// `directory`: O_PATH suffices. Throws Error if another writer is at work there, or if a file that is no
  /// checkpoint's has a name that the checkpoint needs.
  GivenDirectory(int directory, std::string path);
  ~GivenDirectory() override;

  [[nodiscard]] Fd create_file(const std::string& name) override;
  [[nodiscard]] std::string path() const override { return path_; }
  /// The older checkpoint goes aside as a whole: were its pages replaced one after the other, a reader could
  /// take new ones for its own. The file with the closing frame goes first and comes last.
  void publish(bool sync) override;
  void retract() noexcept override;

 private:
  /// The files of one checkpoint, which have one ending.
  struct Set {
    enum class State { None, Foreign, Begun, Whole } state = State::None;  // of the file with the frames
    size_t payload_files = 0;                                              // of a whole one
    [[nodiscard]] bool has(size_t index) const { return index < payload_files; }
  };

  [[nodiscard]] Set find_set(const char* ending) const;
  [[nodiscard]] bool exists(const std::string& name) const;
  void mend();
  void set_aside();
  void put_back() noexcept;
  void remove_old() noexcept;
  void remove_partial() noexcept;
  void rename_file(const std::string& from, const std::string& to) const;
  void remove(const std::string& name) const noexcept;
  void refuse(const std::string& name) const;

  std::string path_;
  Fd directory_;                        // holds the lock
  std::optional<size_t> older_;         // an older checkpoint is there, with so many files of pages
  std::vector<std::string> aside_;      // its files that stand aside, that with the frames first
  std::vector<std::string> files_;      // that were made
  std::vector<std::string> published_;  // of these, that have their names
};

}  // namespace godwit
