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

size_t MemorySource::read(std::span<std::byte> out) {
  return take(data_, out);
}

FdSource::FdSource(int fd, std::string name) : fd_(fd), name_(std::move(name)), buffer_(kBufferBytes) {}

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
  ssize_t got;
  do {
    got = ::read(fd_, out.data(), out.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    throw errno_error("cannot read {}", name_);
  }
  return static_cast<size_t>(got);
}

}  // namespace godwit
