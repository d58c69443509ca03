#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "images-format/checkpoint_writer.h"
#include "images-format/page_store.h"
#include "kernel/fd.h"

namespace godwit {

/// Bytes that a block takes up in the payload: what it stores, padded with zeros to whole pages.
[[nodiscard]] constexpr uint64_t padded_bytes(uint64_t stored_bytes) {
  return (stored_bytes + kPageSize - 1) / kPageSize * kPageSize;
}

/// Writes the payload into a file, from any number of threads at once, each block at a place of its own.
class PayloadWriter final : public PageSink {
 public:
  /// `name` stands in errors.
  PayloadWriter(Fd file, std::string name, image::PageBlock::Codec codec);

  image::PageBlock write_block(std::span<const std::byte> pages) override;

  [[nodiscard]] int fd() const { return file_.get(); }
  /// Bytes written so far, padding included.
  [[nodiscard]] uint64_t size() const { return end_.load(); }

 private:
  Fd file_;
  std::string name_;
  image::PageBlock::Codec codec_;
  std::atomic<uint64_t> end_ = 0;
};

/// Reads the payload from a file.
class PayloadReader final : public PageSource {
 public:
  /// `name` stands in errors. Throws Error.
  PayloadReader(Fd file, std::string name);

  void read_block(const image::PageBlock& block, std::span<std::byte> out) const override;

  /// Length of the file when it was opened.
  [[nodiscard]] uint64_t size() const { return size_; }

 private:
  void read_at(uint64_t offset, std::span<std::byte> out) const;

  Fd file_;
  std::string name_;
  uint64_t size_;
};

/// Throws Error unless the block lies within a payload of `payload_bytes`, on whole pages, and its sizes
/// agree with each other.
void check_block(const image::PageBlock& block, uint64_t payload_bytes);

/// Does all of PageSource::read_block but the reading: `stored` is what the payload has for the block,
/// padding included. When the block isn't compressed, `stored` and `out` may be the same memory.
void unpack_block(const image::PageBlock& block, std::span<const std::byte> stored, std::span<std::byte> out);

}  // namespace godwit
