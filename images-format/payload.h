#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "images-format/checkpoint_writer.h"
#include "images-format/page_store.h"
#include "images-format/section.h"
#include "kernel/fd.h"

namespace godwit {

/// Bytes that a block takes up in the payload: what it stores, padded with zeros to whole pages.
[[nodiscard]] constexpr uint64_t padded_bytes(uint64_t stored_bytes) {
  return (stored_bytes + kPageSize - 1) / kPageSize * kPageSize;
}

/// Writes the payload, from any number of threads at once, each block at a place of its own. Threads that
/// write at the same time write to different files, since the kernel lets only one write to a file at a time
/// (inode lock); where one suffices there is one.
class PayloadWriter final : public PageSink {
 public:
  struct Files {
    std::function<Fd(size_t index)> create;         // makes the file of that number; may throw Error
    std::function<std::string(size_t index)> name;  // for errors
    size_t most = kMaxPayloadFiles;
    uint64_t start = 0;  // where in a file the payload begins
  };

  PayloadWriter(Files files, image::PageBlock::Codec codec);

  image::PageBlock write_block(std::span<const std::byte> pages) override;

  /// Not while blocks are written.
  [[nodiscard]] int fd(size_t index) const { return files_.at(index).fd.get(); }
  /// Bytes written so far, padding included. Not while blocks are written.
  [[nodiscard]] PayloadSizes sizes() const;

 private:
  struct File {
    Fd fd;
    uint64_t end = 0;
    bool busy = false;
  };
  struct Place {
    size_t file;
    int fd;
    uint64_t offset;
  };

  Place take_place(size_t bytes);
  void give_back(const Place& place);
  void add_file();

  Files how_;
  image::PageBlock::Codec codec_;
  std::mutex lock_;  // of the files
  std::vector<File> files_;
};

/// Reads the payload from its files, or from the one file that it lies in, piece by piece.
class PayloadReader final : public PageSource {
 public:
  /// `files` has at least one; `directory` stands in errors. Throws Error.
  PayloadReader(std::vector<Fd> files, std::string directory);
  /// `file` has these pieces of the payload, which fill it.
  PayloadReader(Fd file, std::string path, SectionLayout layout);

  void read_block(const image::PageBlock& block, std::span<std::byte> out) const override;

  /// Lengths of the payload's files when they were opened.
  [[nodiscard]] const PayloadSizes& sizes() const { return sizes_; }

 private:
  void read_at(size_t file, uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] uint64_t place_of(const image::PageBlock& block) const;
  [[nodiscard]] std::string name(size_t file) const;

  std::vector<Fd> files_;
  std::string path_;
  PayloadSizes sizes_;
  std::vector<PayloadPiece> pieces_;  // of the one file; empty: the payload has files of its own
};

/// Fills in `block` all but its place. Returns what is to be stored for it, whole pages, which lie in `pages`
/// or in memory of this thread that the next call uses again. Throws Error unless these are 1 to
/// kPagesPerBlock pages.
[[nodiscard]] std::span<const std::byte> pack_block(std::span<const std::byte> pages,
                                                    image::PageBlock::Codec codec, image::PageBlock& block);

/// Throws Error unless the block lies within a payload of these sizes, on whole pages, and its own sizes
/// agree with each other.
void check_block(const image::PageBlock& block, const PayloadSizes& payload_sizes);

/// Does all of PageSource::read_block but the reading: `stored` is what the payload has for the block,
/// padding included. When the block isn't compressed, `stored` and `out` may be the same memory.
void unpack_block(const image::PageBlock& block, std::span<const std::byte> stored, std::span<std::byte> out);

}  // namespace godwit
