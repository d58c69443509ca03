#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "tests/unit/descriptor_round_trip.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit::testing {

inline std::string read_text(int fd, size_t most = 65536) {
  std::string text(most, '\0');
  const ssize_t got = ::read(fd, text.data(), most);
  text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

inline bool write_text(int fd, std::string_view text) {
  return ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

inline bool is_closed(int fd) {
  return ::fcntl(fd, F_GETFD) < 0;
}

/// With a directory of the test's own.
class DescriptorKinds : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }
  [[nodiscard]] int create(const std::string& name, int flags = O_RDWR) const {
    return ::open(path(name).c_str(), flags | O_CREAT, 0600);
  }

 private:
  TempDirectory directory_;
};

}  // namespace godwit::testing
