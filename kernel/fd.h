#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace godwit {

/// Owns one file descriptor of this process and closes it.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
  /// The caller owns it from now on.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC. Throws Error with the path.
[[nodiscard]] Fd open_file(const std::string& path, int flags, mode_t mode = 0);
/// openat(2) with O_CLOEXEC, relative to `directory`. Throws Error with the path.
[[nodiscard]] Fd open_at(int directory, const std::string& path, int flags, mode_t mode = 0);
/// The whole of a small file such as those in /proc. Throws Error with the path.
[[nodiscard]] std::string read_file(const std::string& path);
/// What is left to read of `fd`. Throws Error; `name` stands in it.
[[nodiscard]] std::string read_all(int fd, const std::string& name);
/// A file of /proc that is one record (stat, status, fdinfo; not maps, children): a read that doesn't fill
/// the buffer has it all, which saves the one that finds the end. Throws Error with the path or `name`.
[[nodiscard]] std::string read_record(const std::string& path);
[[nodiscard]] std::string read_record(int fd, const std::string& name);
/// Writes every byte. Throws Error; `name` stands in it.
void write_all(int fd, std::span<const std::byte> data, const std::string& name);
/// readlink(2) of any length. Throws Error with the path.
[[nodiscard]] std::string read_link(const std::string& path);

}  // namespace godwit
