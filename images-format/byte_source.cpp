#include "images-format/byte_source.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr size_t kBufferBytes = 64 * 1024;

size_t take(std::span<const std::byte>& from, std::span<std::byte> out) {
  const size_t size = std::min(from.size(), out.size());
  std::copy_n(from.begin(), size, out.begin());
  from = from.subspan(size);
  return size;
}

}  // namespace

size_t read_fully(ByteSource& source, std::span<std::byte> out) {
  size_t used = 0;
  while (used < out.size()) {
    const size_t got = source.read(out.subspan(used));
    if (got == 0) {
      break;
    }
    used += got;
  }
  return used;
}

size_t MemorySource::read(std::span<std::byte> out) {
  return take(data_, out);
}

FdSource::FdSource(int fd, std::string name) : fd_(fd), name_(std::move(name)), buffer_(kBufferBytes) {}

FdSource::FdSource(int fd, std::string name, uint64_t offset, uint64_t bytes)
    : FdSource(fd, std::move(name)) {
  part_ = Part{offset, bytes};
}

size_t FdSource::read(std::span<std::byte> out) {
  if (buffered_.empty()) {
    if (out.size() >= buffer_.size()) {
      return read_fd(out);
    }
    buffered_ = std::span(buffer_).first(read_fd(buffer_));
  }
  return take(buffered_, out);
}

size_t FdSource::read_fd(std::span<std::byte> out) {
  if (part_) {
    out = out.first(std::min<uint64_t>(out.size(), part_->bytes));
  }
  ssize_t got;
  do {
    got = part_ ? ::pread(fd_, out.data(), out.size(), static_cast<off_t>(part_->offset))
                : ::read(fd_, out.data(), out.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    throw errno_error("cannot read {}", name_);
  }
  if (part_) {
    part_->offset += static_cast<uint64_t>(got);
    part_->bytes -= static_cast<uint64_t>(got);
  }
  return static_cast<size_t>(got);
}

}  // namespace godwit
