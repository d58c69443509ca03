#include <fcntl.h>
#include <unistd.h>

#include "images-format/checkpoint_output.h"
#include "images-format/partial_file.h"
#include "images-format/payload.h"
#include "images-format/section.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// One file: all pages are one section, whose length is written in front of it when it is known, so that any
/// number of threads can write blocks to their places, as in a directory.
class FileOutput final : public CheckpointOutput {
 public:
  FileOutput(const std::string& path, const WriterOptions& options)
      : sync_(options.sync),
        file_(path),
        payload_({.create = [this](size_t) { return same_file(); },
                  .name = [this](size_t) { return file_.path(); },
                  .most = 1,
                  .start = kPageSize},
                 options.codec) {}

  PageSink& pages() override { return payload_; }
  [[nodiscard]] PayloadSizes sizes() const override { return payload_.sizes(); }

  void finish(std::span<const std::byte> frames) override {
    const uint64_t payload = payload_.sizes().front();
    FdSink sink(file_.fd(), file_.path());
    seek(0);
    if (payload > 0) {
      std::array<std::byte, kPageSize> page;
      encode_section({.type = SectionType::Pages, .bytes = payload, .payload_before = 0}, page);
      sink.write(page);
      seek(kPageSize + payload);
    }
    write_section(sink, {.type = SectionType::Metadata, .bytes = frames.size(), .payload_before = payload},
                  frames);
    write_section(sink, {.type = SectionType::End, .bytes = 0, .payload_before = payload}, {});
    // For whoever makes a stream of it: a file isn't waited with.
    write_section(sink, {.type = SectionType::Parted, .bytes = 0, .payload_before = payload}, {});
    file_.publish(sync_);
  }

  void retract() noexcept override { file_.retract(); }

 private:
  [[nodiscard]] Fd same_file() const {
    Fd fd(::fcntl(file_.fd(), F_DUPFD_CLOEXEC, 0));
    if (!fd) {
      throw errno_error("cannot duplicate a descriptor");
    }
    return fd;
  }

  void seek(uint64_t offset) const {
    if (::lseek(file_.fd(), static_cast<off_t>(offset), SEEK_SET) < 0) {
      throw errno_error("cannot seek in {}", file_.path());
    }
  }

  bool sync_;
  PartialFile file_;
  PayloadWriter payload_;
};

}  // namespace

std::unique_ptr<CheckpointOutput> output_to_file(const std::string& path, const WriterOptions& options) {
  return std::make_unique<FileOutput>(path, options);
}

}  // namespace godwit
