#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernel/fd.h"

namespace godwit {

/// Where frames go: a file, a pipe, a socket, memory.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Takes all of it. Throws Error.
  virtual void write(std::span<const std::byte> data) = 0;
};

/// A descriptor that the caller owns; `name` stands in errors.
class FdSink final : public ByteSink {
 public:
  FdSink(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  void write(std::span<const std::byte> data) override { write_all(fd_, data, name_); }

 private:
  int fd_;
  std::string name_;
};

}  // namespace godwit
