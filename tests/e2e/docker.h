#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/e2e/harness.h"

namespace godwit::e2e {

/// Docker, as Debian has it: a daemon of the test's own with our criu first in PATH, in a network namespace
/// of its own, and an image "counter" of busybox.
class Docker : public testing::Test {
 protected:
  void SetUp() override { set_up("PATH=\"$PATH\""); }
  void TearDown() override;

  /// `environment`: assignments in front of the daemon's command line.
  void set_up(const std::string& environment);

  [[nodiscard]] Outcome docker(const std::string& arguments) const;
  /// Words of ours by which it finds the same containers.
  [[nodiscard]] std::vector<std::string> options_of_godwit() const;

  /// Of the container "first".
  [[nodiscard]] int count() const;
  [[nodiscard]] bool counts() const;
  /// From the port 18080 that it publishes.
  [[nodiscard]] std::string fetch() const;

  Reaper reaper_;
  TemporaryDirectory state_;

 private:
  const std::string name_ = "gwd" + std::to_string(::getpid());
  const std::string inside_ = "nsenter --net=/run/netns/" + name_ + " ";
  const std::string docker_ = "docker -H unix://" + state_.path() + "/socket ";
};

}  // namespace godwit::e2e
