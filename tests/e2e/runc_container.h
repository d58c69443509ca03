#pragma once

#include <string>

#include "tests/e2e/harness.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {

/// A container of the runc that Debian has, with our criu first in PATH: that of `runc spec` without a
/// terminal, whose root file system is busybox, and which counts. Deleted by the destructor.
class RuncContainer {
 public:
  /// Makes the bundle. Throws Error if runc, busybox or python3 is missing.
  RuncContainer();
  RuncContainer(const RuncContainer&) = delete;
  RuncContainer& operator=(const RuncContainer&) = delete;
  ~RuncContainer();

  /// Changes config.json by statements of Python about `c`. Throws Error.
  void configure(const std::string& python) const;
  /// A command of Python's that makes the container run a shell's.
  static std::string command(const std::string& shell);

  [[nodiscard]] Outcome start(const std::string& options = "") const;
  [[nodiscard]] Outcome checkpoint(const std::string& options = "") const;
  [[nodiscard]] Outcome restore(const std::string& options = "") const;
  /// In the container.
  [[nodiscard]] Outcome exec(const std::string& command) const {
    return runc("exec " + name + " " + command);
  }
  /// What it prints is in the outcome, also if it leaves something running that keeps its output open.
  [[nodiscard]] Outcome runc(const std::string& arguments) const;
  /// A line for /bin/sh, with PATH set; `arguments` are runc's.
  [[nodiscard]] std::string line(const std::string& arguments) const;
  /// Options of runc's that say where images and logs are.
  [[nodiscard]] std::string directories() const;

  [[nodiscard]] int count() const;
  /// Whether the count goes on.
  [[nodiscard]] bool counts() const;
  /// A file in the container's root file system.
  [[nodiscard]] std::string file(const std::string& path) const { return bundle / ("rootfs/" + path); }

  TemporaryDirectory bundle;
  TemporaryDirectory state;
  const std::string name;  // no other container's, which would have the same cgroups
};

}  // namespace godwit::e2e
