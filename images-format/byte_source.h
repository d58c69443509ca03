#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
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

/// Bytes read; fewer than asked for only at the end of the source. Throws Error.
size_t read_fully(ByteSource& source, std::span<std::byte> out);

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
  /// From where the descriptor stands, to the end.
  FdSource(int fd, std::string name);
  /// Of a file, `bytes` bytes from `offset` on; the descriptor stays where it stands.
  FdSource(int fd, std::string name, uint64_t offset, uint64_t bytes);
  size_t read(std::span<std::byte> out) override;

 private:
  size_t read_fd(std::span<std::byte> out);

  struct Part {
    uint64_t offset;
    uint64_t bytes;  // left
  };

  int fd_;
  std::string name_;
  std::optional<Part> part_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> buffered_;
};

}  // namespace godwit
