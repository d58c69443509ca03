#include "dump/parent.h"

#include <fcntl.h>

#include <filesystem>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

CheckpointImage open_at_path(const DumpOptions& options) {
  if (options.directory_fd >= 0) {
    const Fd opened(::openat(options.directory_fd, options.parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!opened) {
      throw errno_error("cannot open {} from {}", options.parent, options.directory);
    }
    return CheckpointImage::open_directory(opened.get(), options.parent);
  }
  // The directory isn't there yet, only the one that it will be in.
  const std::filesystem::path path =
      (std::filesystem::absolute(options.directory) / options.parent).lexically_normal();
  return CheckpointImage::open_directory(path.string());
}

}  // namespace

std::optional<CheckpointImage> open_parent(const DumpOptions& options) {
  if (options.parent.empty()) {
    return std::nullopt;
  }
  return with_context([] { return "the parent checkpoint"; }, [&] { return open_at_path(options); });
}

void describe_parent(const CheckpointImage& parent, const std::string& path, image::Checkpoint& header) {
  image::ParentCheckpoint& record = *header.mutable_parent();
  record.set_uuid(parent.header().uuid());
  record.set_closing_hash(parent.name().closing_hash);
  record.set_path(path);
}

}  // namespace godwit
