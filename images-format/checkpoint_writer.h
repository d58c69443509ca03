#pragma once

#include <memory>
#include <string>

#include "images-format/checkpoint_name.h"
#include "images-format/page_store.h"
#include "images-format/record.h"

namespace godwit {

struct WriterOptions {
  image::PageBlock::Codec codec = image::PageBlock::NONE;
  bool sync = true;  // fsync before the checkpoint gets its name
};

/// Writes one checkpoint: records in any order, the image::Checkpoint first. Where frames and pages go is the
/// factory's affair (images-format/checkpoint_output.h).
///
/// A directory or file is written beside its final name and renamed when complete. Without `commit` the
/// destructor removes all that was written. What an earlier writer left there when it was killed is
/// removed (nobody holds its lock).
class CheckpointWriter {
 public:
  /// Throws Error if `path` exists and isn't an empty directory, or can't be made.
  [[nodiscard]] static std::unique_ptr<CheckpointWriter> create_directory(const std::string& path,
                                                                          const WriterOptions& options);
  /// The same into a directory that somebody else has made and holds open as `directory` (O_PATH suffices);
  /// other files there stay. The files have other names until `commit`, which puts an older checkpoint aside,
  /// gives them theirs, and the one with the closing frame last. The older one goes with the writer, or comes
  /// back if the new one fails or is taken back. `path` stands in errors.
  [[nodiscard]] static std::unique_ptr<CheckpointWriter> create_in_directory(int directory,
                                                                             const std::string& path,
                                                                             const WriterOptions& options);
  /// One file. Throws Error if anything has the name `path`, or it can't be made.
  [[nodiscard]] static std::unique_ptr<CheckpointWriter> create_file(const std::string& path,
                                                                     const WriterOptions& options);
  /// The same bytes, or nearly, to a pipe, a socket or an open file, which stays the caller's. `name` stands
  /// in errors. Nothing of it is a checkpoint until `commit`, which returns when the reader has taken all, as
  /// far as that can be known (images-format/stream_sink.h), and can't be undone.
  [[nodiscard]] static std::unique_ptr<CheckpointWriter> create_stream(int fd, const std::string& name,
                                                                       const WriterOptions& options);
  virtual ~CheckpointWriter() = default;

  /// Not thread-safe. Throws Error. The writer itself fills an image::Checkpoint's format_version,
  /// page_size, godwit_version, and uuid if that is empty.
  virtual void add(const google::protobuf::Message& record) = 0;
  /// Lives as long as the writer.
  virtual PageSink& pages() = 0;
  /// Closing frame, fsync, rename. Throws Error; then nothing new bears the final name. Every block that was
  /// written must be in the index of a MemoryObject that was added.
  virtual void commit() = 0;
  /// Of the committed checkpoint.
  [[nodiscard]] virtual CheckpointName name() const = 0;
  /// Takes a committed checkpoint back: it has been written in vain.
  virtual void retract() noexcept = 0;
  /// After `commit`: the tree has been ended, or let go on purpose. The reader of a stream waits for that
  /// word before it makes the tree again.
  virtual void part() noexcept = 0;
};

}  // namespace godwit
