#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/e2e/harness.h"

namespace godwit::e2e {

/// Podman on runc, as Debian has both, with our criu first in PATH and a storage of the test's own. Its
/// containers are of busybox and count: into their own file system, and to their output, which conmon keeps.
class Podman : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Starts the container "first".
  void start(const std::string& options = "--network none", const std::string& before_counting = "") const;

  /// What it prints goes to a file: conmon, which stays, would hold a pipe of ours.
  [[nodiscard]] Outcome podman(const std::string& arguments) const;
  /// Words of ours by which it finds the same containers.
  [[nodiscard]] std::vector<std::string> options_of_godwit() const;

  [[nodiscard]] int count(const std::string& name) const;
  [[nodiscard]] bool counts(const std::string& name) const;
  [[nodiscard]] int last_line(const std::string& name) const;

  std::string before_;  // of a command line
  Reaper reaper_;
  TemporaryDirectory state_;

 private:
  [[nodiscard]] std::vector<std::string> options() const;
  [[nodiscard]] std::string line() const;

  const std::string cgroup_ = "godwit-test-" + std::to_string(::getpid());
};

}  // namespace godwit::e2e
