// What workloads about descriptors have in common.
#pragma once

#include <string>
#include <string_view>

#include "tests/workloads/workload.h"

namespace workload {

inline std::string read_text(int fd, size_t most = 65536) {
  std::string text(most, '\0');
  const ssize_t got = read(fd, text.data(), most);
  text.resize(static_cast<size_t>(got > 0 ? got : 0));
  return text;
}

inline bool write_text(int fd, std::string_view text) {
  return write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// The next `text.size()` bytes of `fd` are `text`.
inline void expect_text(int fd, std::string_view text, const char* what) {
  const std::string found = read_text(fd, text.size());
  if (found != text) {
    fail("%s: '%s' instead of '%.*s'", what, found.c_str(), static_cast<int>(text.size()), text.data());
  }
}

}  // namespace workload
