#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit {

/// /proc/PID/fdinfo/N: what the kernel tells of one descriptor. See proc(5).
struct FdInfo {
  int64_t position = 0;
  uint32_t flags = 0;  // O_* as the kernel shows them; O_CLOEXEC is the descriptor's
  uint64_t mount_id = 0;
  uint64_t inode = 0;  // since Linux 5.14
  std::string rest;    // the lines after these: what the kind of file adds, and locks

  /// The value behind `name` ("eventfd-count") without blanks around it; empty optional: no such line.
  [[nodiscard]] std::optional<std::string_view> field(std::string_view name) const;
  /// All lines that begin with `name` and a colon ("tfd", "lock"), from the name on.
  [[nodiscard]] std::vector<std::string_view> lines(std::string_view name) const;
};

/// Throws Error if `text` isn't the content of an fdinfo file.
[[nodiscard]] FdInfo parse_fdinfo(std::string_view text);

/// A number in base `base` that fills the whole of `text`, blanks in front and after apart.
/// Throws Error; `what` stands in it.
template <typename T>
[[nodiscard]] T parse_number(std::string_view text, int base, std::string_view what);

extern template int32_t parse_number(std::string_view, int, std::string_view);
extern template int64_t parse_number(std::string_view, int, std::string_view);
extern template uint32_t parse_number(std::string_view, int, std::string_view);
extern template uint64_t parse_number(std::string_view, int, std::string_view);

/// One "lock:" line: `1: POSIX  ADVISORY  WRITE 41 08:01:1234 0 EOF`.
struct FdLock {
  std::string_view type;    // "POSIX", "FLOCK", "OFDLCK", "LEASE", ...
  std::string_view access;  // "READ", "WRITE"
  int32_t pid = 0;
  uint64_t start = 0;
  uint64_t length = 0;  // 0: to the end of the file
};
[[nodiscard]] FdLock parse_lock(std::string_view line);

/// One "tfd:" line of an epoll descriptor.
struct FdWatch {
  int32_t fd = 0;
  uint32_t events = 0;
  uint64_t data = 0;
  uint64_t inode = 0;
};
[[nodiscard]] FdWatch parse_watch(std::string_view line);

}  // namespace godwit
