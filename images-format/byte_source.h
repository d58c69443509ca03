#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace godwit {

/// Where frames come from: a file, a pipe, a socket, memory.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `out.size()` bytes; 0: the end. Throws Error.
  virtual size_t read(std::span<std::byte> out) = 0;
};

/// Bytes that the caller keeps.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> data) : data_(data) {}
  size_t read(std::span<std::byte> out) override;

 private:
  std::span<const std::byte> data_;
};

/// A descriptor that the caller owns, read through a buffer; `name` stands in errors.
class FdSource final : public ByteSource {
 public:
  FdSource(int fd, std::string name);
  size_t read(std::span<std::byte> out) override;

 private:
  size_t read_fd(std::span<std::byte> out);

  int fd_;
  std::string name_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> buffered_;
};

}  // namespace godwit
