#include "dump/file_content.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <span>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

bool is_zero(std::span<const std::byte> page) {
  const auto* words = reinterpret_cast<const uint64_t*>(page.data());
  return std::all_of(words, words + page.size() / sizeof(uint64_t), [](uint64_t word) { return word == 0; });
}

class ContentWriter {
 public:
  ContentWriter(int fd, const std::string& name, uint64_t size, PageSink& sink)
      : fd_(fd), name_(name), size_(size), sink_(sink), buffer_(new (std::align_val_t{kPageSize}) Block) {}

  image::MemoryObject write(uint64_t id) {
    for (uint64_t at = 0; at < size_;) {
      const off_t data = ::lseek(fd_, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0) {
        if (errno == ENXIO) {
          break;
        }
        throw errno_error("cannot find the data of {}", name_);
      }
      const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
      if (hole < 0) {
        throw errno_error("cannot find the holes of {}", name_);
      }
      const uint64_t first = std::max(static_cast<uint64_t>(data) / kPageSize, next_page_);
      next_page_ = (static_cast<uint64_t>(hole) + kPageSize - 1) / kPageSize;
      add_pages(first, next_page_);
      at = static_cast<uint64_t>(hole);
    }
    flush();
    return std::move(index_).finish(id);
  }

 private:
  struct Block {
    alignas(kPageSize) std::array<std::byte, kBlockBytes> bytes;
  };

  void add_pages(uint64_t first, uint64_t end) {
    for (uint64_t page = first; page < end; ++page) {
      const std::span<std::byte> room = std::span(buffer_->bytes).subspan(pages_ * kPageSize, kPageSize);
      read_page(page, room);
      if (is_zero(room)) {
        index_.add_run(page, 1, image::PAGE_ZERO);
        continue;
      }
      index_.add_run(page, 1, image::PAGE_PRESENT);
      if (++pages_ == kPagesPerBlock) {
        flush();
      }
    }
  }

  void read_page(uint64_t page, std::span<std::byte> room) const {
    size_t filled = 0;
    while (filled < room.size()) {
      const ssize_t got = ::pread(fd_, room.data() + filled, room.size() - filled,
                                  static_cast<off_t>(page * kPageSize + filled));
      if (got < 0) {
        throw errno_error("cannot read {}", name_);
      }
      if (got == 0) {
        break;
      }
      filled += static_cast<size_t>(got);
    }
    std::fill(room.begin() + static_cast<ptrdiff_t>(filled), room.end(), std::byte{0});
  }

  void flush() {
    check_cancelled();
    if (pages_ > 0) {
      index_.add_block(sink_.write_block(std::span(buffer_->bytes).first(pages_ * kPageSize)));
      pages_ = 0;
    }
  }

  int fd_;
  const std::string& name_;
  uint64_t size_;
  PageSink& sink_;
  std::unique_ptr<Block> buffer_;
  size_t pages_ = 0;
  uint64_t next_page_ = 0;  // what has been written ends here: pieces of data may share a page
  MemoryIndexBuilder index_;
};

}  // namespace

image::MemoryObject write_file_content(int fd, const std::string& name, uint64_t size, PageSink& sink,
                                       uint64_t id) {
  return ContentWriter(fd, name, size, sink).write(id);
}

}  // namespace godwit
