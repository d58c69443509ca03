#pragma once

#include <memory>
#include <string>

#include "images-format/checkpoint_directory.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/frame.h"
#include "images-format/page_store.h"

namespace godwit {

/// Where a CheckpointWriter puts what it writes. Without `finish` nothing of it is a checkpoint.
class CheckpointOutput {
 public:
  virtual ~CheckpointOutput() = default;
  virtual PageSink& pages() = 0;
  /// Of the pages written so far. Not while blocks are written.
  [[nodiscard]] virtual PayloadSizes sizes() const = 0;
  /// Writes the closed `frames` (FrameWriter::close), and makes it a checkpoint. Throws Error; then it isn't
  /// one.
  virtual void finish(std::span<const std::byte> frames) = 0;
  virtual void retract() noexcept = 0;
  /// The dump has done with the tree: it has ended, or whoever dumps wants it besides.
  virtual void part() noexcept {}
};

[[nodiscard]] std::unique_ptr<CheckpointOutput> output_to_directory(
    std::unique_ptr<CheckpointDirectory> directory, const WriterOptions& options);
[[nodiscard]] std::unique_ptr<CheckpointOutput> output_to_file(const std::string& path,
                                                               const WriterOptions& options);
[[nodiscard]] std::unique_ptr<CheckpointOutput> output_to_stream(int fd, const std::string& name,
                                                                 const WriterOptions& options);

}  // namespace godwit
