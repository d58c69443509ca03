#include "restore/file_content.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <vector>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// Writes pages at page numbers of one file.
class ContentFiller {
 public:
  ContentFiller(int fd, const std::string& name, uint64_t size, const PageSource& pages)
      : fd_(fd), name_(name), size_(size), pages_(pages) {}

  void fill(const image::MemoryObject& object) {
    const uint64_t end = (size_ + kPageSize - 1) / kPageSize;
    buffer_.resize(kBlockBytes);
    const std::vector<PageRun> runs = decode_runs(object);
    uint64_t zeros = 0;
    for (const PageRun& run : runs) {
      if (run.count > end || run.first > end - run.count) {
        throw error("{}: pages beyond its end", name_);
      }
      zeros += run.kind == image::PAGE_ZERO ? run.count : 0;
    }
    check_room(zeros * kPageSize);
    for (const PageRun& run : runs) {
      if (run.kind == image::PAGE_ZERO) {
        fill_zeros(run);
      }
    }
    for_each_block(object, [&](const image::PageBlock& block, std::span<const BlockPiece> pieces) {
      const std::span<std::byte> content = std::span(buffer_).first(block.pages() * kPageSize);
      pages_.read_block(block, content);
      for (const BlockPiece& piece : pieces) {
        write_at(piece.first_page, content.subspan(piece.page_in_block * kPageSize, piece.pages * kPageSize));
      }
    });
  }

 private:
  /// Zeros cost nothing in an image, so that its own size says nothing about how many there are.
  void check_room(uint64_t bytes) const {
    struct statvfs system {};
    if (::fstatvfs(fd_, &system) != 0) {
      throw errno_error("cannot ask for free space for {}", name_);
    }
    const uint64_t free = system.f_bfree * system.f_frsize;
    if (system.f_blocks != 0 && bytes > free) {
      throw Error(fmt::format("{} has {} bytes of zeros, there is room for {}", name_, bytes, free), ENOSPC);
    }
  }

  void fill_zeros(const PageRun& run) {
    std::fill(buffer_.begin(), buffer_.end(), std::byte{0});
    for (uint64_t done = 0; done < run.count;) {
      check_cancelled();
      const uint64_t pages = std::min<uint64_t>(run.count - done, kPagesPerBlock);
      write_at(run.first + done, std::span(buffer_).first(pages * kPageSize));
      done += pages;
    }
  }

  void write_at(uint64_t page, std::span<const std::byte> content) {
    for (uint64_t at = page * kPageSize; !content.empty();) {
      const ssize_t put = ::pwrite(fd_, content.data(), content.size(), static_cast<off_t>(at));
      if (put < 0) {
        throw errno_error("cannot fill {}", name_);
      }
      content = content.subspan(static_cast<size_t>(put));
      at += static_cast<uint64_t>(put);
    }
  }

  int fd_;
  const std::string& name_;
  uint64_t size_;
  const PageSource& pages_;
  std::vector<std::byte> buffer_;
};

}  // namespace

void fill_file(int fd, const std::string& name, uint64_t size, const image::MemoryObject& object,
               const PageSource& pages) {
  ContentFiller(fd, name, size, pages).fill(object);
}

const image::MemoryObject& find_memory_object(const CheckpointImage& image, uint64_t id) {
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    if (object->id() == id) {
      return *object;
    }
  }
  throw error("memory object {} isn't in the image", id);
}

timespec to_timespec(int64_t nanoseconds) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = nanoseconds / kSecond;
  int64_t rest = nanoseconds % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return {seconds, rest};
}

}  // namespace godwit
