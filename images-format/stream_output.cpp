#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <mutex>

#include "images-format/checkpoint_output.h"
#include "images-format/payload.h"
#include "images-format/section.h"
#include "images-format/stream_sink.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// Collects blocks until they are worth a section, whose length must be known before it is written.
class StreamPages final : public PageSink {
 public:
  StreamPages(StreamSink& sink, image::PageBlock::Codec codec) : sink_(sink), codec_(codec) {}

  image::PageBlock write_block(std::span<const std::byte> pages) override {
    image::PageBlock block;
    const std::span<const std::byte> stored = pack_block(pages, codec_, block);
    const std::lock_guard guard(lock_);
    if (used_ + stored.size() > section_bytes()) {
      flush_locked();
    }
    block.set_offset(sent_ + used_);
    std::ranges::copy(stored, buffer_.get() + kPageSize + used_);
    used_ += stored.size();
    return block;
  }

  /// Not while blocks are written, nor is `bytes`.
  void flush() { flush_locked(); }
  [[nodiscard]] uint64_t bytes() const { return sent_ + used_; }

 private:
  /// Begins small, since touching a large buffer for the first time takes as long as copying through it; the
  /// pages in front of the sections never become much more than a hundredth of it all.
  [[nodiscard]] uint64_t section_bytes() const {
    return std::clamp<uint64_t>(sent_ / 16, kBlockBytes, kMostInASection);
  }

  void flush_locked() {
    if (used_ == 0) {
      return;
    }
    encode_section({.type = SectionType::Pages, .bytes = used_, .payload_before = sent_},
                   std::span<std::byte, kPageSize>(buffer_.get(), kPageSize));
    sink_.write({buffer_.get(), kPageSize + used_});
    sent_ += used_;
    used_ = 0;
  }

  static constexpr uint64_t kMostInASection = 1 << 20;

  StreamSink& sink_;
  image::PageBlock::Codec codec_;
  std::mutex lock_;
  std::unique_ptr<std::byte[]> buffer_{new std::byte[kPageSize + kMostInASection]};  // the page in front, too
  uint64_t used_ = 0;                                                                // of it
  uint64_t sent_ = 0;  // in sections that were written
};

class StreamOutput final : public CheckpointOutput {
 public:
  StreamOutput(int fd, const std::string& name, const WriterOptions& options)
      : sync_(options.sync), sink_(fd, name), pages_(sink_, options.codec) {}

  PageSink& pages() override { return pages_; }
  [[nodiscard]] PayloadSizes sizes() const override { return {pages_.bytes()}; }

  void finish(std::span<const std::byte> frames) override {
    pages_.flush();
    const uint64_t payload = pages_.bytes();
    write_section(sink_, {.type = SectionType::Metadata, .bytes = frames.size(), .payload_before = payload},
                  frames);
    // Whoever makes something of the checkpoint reads this page last, when all else is well and kept.
    write_section(sink_, {.type = SectionType::End, .bytes = 0, .payload_before = payload}, {});
    sink_.settle(sync_);
  }

  /// What has been read can't be taken back. But whoever restores waits for more.
  void retract() noexcept override {}

  void part() noexcept override {
    std::array<std::byte, kPageSize> page;
    encode_section({.type = SectionType::Parted, .bytes = 0, .payload_before = pages_.bytes()}, page);
    sink_.write_last(page);
  }

 private:
  bool sync_;
  StreamSink sink_;
  StreamPages pages_;
};

}  // namespace

std::unique_ptr<CheckpointOutput> output_to_stream(int fd, const std::string& name,
                                                   const WriterOptions& options) {
  return std::make_unique<StreamOutput>(fd, name, options);
}

}  // namespace godwit
