#include <unistd.h>

#include "images-format/checkpoint_output.h"
#include "images-format/partial_directory.h"
#include "images-format/payload.h"
#include "kernel/error.h"

namespace godwit {

namespace {

void sync_file(int fd, const std::string& name) {
  if (::fsync(fd) != 0) {
    throw errno_error("cannot sync {}", name);
  }
}

class DirectoryOutput final : public CheckpointOutput {
 public:
  DirectoryOutput(std::unique_ptr<CheckpointDirectory> directory, const WriterOptions& options)
      : sync_(options.sync),
        directory_(std::move(directory)),
        metadata_(directory_->create_file(kMetadataFile)),
        payload_({.create = [this](size_t index) { return directory_->create_file(payload_file(index)); },
                  .name = [this](size_t index) { return directory_->path() + "/" + payload_file(index); }},
                 options.codec) {}

  PageSink& pages() override { return payload_; }
  [[nodiscard]] PayloadSizes sizes() const override { return payload_.sizes(); }

  void finish(std::span<const std::byte> frames) override {
    const std::string name = directory_->path() + "/" + kMetadataFile;
    write_all(metadata_.get(), frames, name);
    if (sync_) {
      const size_t files = payload_.sizes().size();
      for (size_t i = 0; i < files; ++i) {
        sync_file(payload_.fd(i), directory_->path() + "/" + payload_file(i));
      }
      sync_file(metadata_.get(), name);
    }
    directory_->publish(sync_);
  }

  void retract() noexcept override { directory_->retract(); }

 private:
  bool sync_;
  std::unique_ptr<CheckpointDirectory> directory_;
  Fd metadata_;
  PayloadWriter payload_;
};

}  // namespace

std::unique_ptr<CheckpointOutput> output_to_directory(std::unique_ptr<CheckpointDirectory> directory,
                                                      const WriterOptions& options) {
  return std::make_unique<DirectoryOutput>(std::move(directory), options);
}

}  // namespace godwit
