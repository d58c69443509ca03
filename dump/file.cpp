#include "dump/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr int64_t kNanoseconds = 1'000'000'000;

int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * kNanoseconds + time.tv_nsec;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool leads_to(const std::string& path, const struct stat& status) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && same_file(found, status);
}

/// The path under which the file will be found again, or was found while it had a name.
std::string path_of(const std::string& link_text, const struct stat& status) {
  if (!link_text.starts_with('/')) {
    throw refusal("{}, which has no path,", link_text);
  }
  if (leads_to(link_text, status)) {
    return link_text;
  }
  if (!link_text.ends_with(kDeleted)) {
    throw refusal("{}, which isn't what stands under that name,", link_text);
  }
  if (status.st_nlink > 0 && !S_ISDIR(status.st_mode)) {
    throw refusal("{}, which has lost this name but has others,", link_text);
  }
  if (!S_ISREG(status.st_mode)) {
    throw refusal("{}, which isn't a regular file,", link_text);
  }
  return link_text.substr(0, link_text.size() - kDeleted.size());
}

bool is_zero(std::span<const std::byte> page) {
  const auto* words = reinterpret_cast<const uint64_t*>(page.data());
  return std::all_of(words, words + page.size() / sizeof(uint64_t), [](uint64_t word) { return word == 0; });
}

/// Writes the content of one unlinked file: what SEEK_DATA finds becomes pages, the rest stays a hole.
class GhostWriter {
 public:
  GhostWriter(int fd, const std::string& name, uint64_t size, PageSink& sink)
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

uint32_t FileTable::add(const std::string& proc_link, bool validate) {
  struct stat status {};
  if (::stat(proc_link.c_str(), &status) != 0) {
    throw errno_error("cannot stat {}", proc_link);
  }
  return add(proc_link, read_link(proc_link), status, validate);
}

uint32_t FileTable::add(const std::string& proc_link, const std::string& link_text, const struct stat& status,
                        bool validate) {
  const auto [known, is_new] =
      by_identity_.try_emplace({status.st_dev, status.st_ino, status.st_nlink == 0 ? "" : link_text}, 0);
  if (!is_new) {
    image::File& record = entries_[known->second - 1].record;
    record.set_validate(record.validate() || (validate && !record.has_ghost()));
    return known->second;
  }
  Entry entry;
  image::File& record = entry.record;
  record.set_path(path_of(link_text, status));
  record.set_id(static_cast<uint32_t>(entries_.size() + 1));
  record.set_mode(status.st_mode);
  record.set_device(status.st_dev);
  record.set_inode(status.st_ino);
  record.set_size(static_cast<uint64_t>(status.st_size));
  record.set_mtime_ns(nanoseconds(status.st_mtim));
  record.set_rdev(status.st_rdev);
  if (status.st_nlink == 0 && S_ISREG(status.st_mode)) {
    image::Ghost& ghost = *record.mutable_ghost();
    ghost.set_uid(status.st_uid);
    ghost.set_gid(status.st_gid);
    ghost.set_atime_ns(nanoseconds(status.st_atim));
    entry.proc_link = proc_link;
  } else {
    record.set_validate(validate);
  }
  entries_.push_back(std::move(entry));
  known->second = static_cast<uint32_t>(entries_.size());
  return known->second;
}

void FileTable::write(CheckpointWriter& writer, MemoryObjectIds& ids) const {
  for (const Entry& entry : entries_) {
    if (!entry.record.has_ghost()) {
      writer.add(entry.record);
      continue;
    }
    image::File record = entry.record;
    const uint64_t object = ids.next();
    record.mutable_ghost()->set_memory_object(object);
    const Fd fd = open_file(entry.proc_link, O_RDONLY | O_NOATIME);
    const std::string& name = record.path();
    writer.add(record);
    writer.add(GhostWriter(fd.get(), name, record.size(), writer.pages()).write(object));
  }
}

}  // namespace godwit
