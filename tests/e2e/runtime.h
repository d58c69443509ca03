#pragma once

#include <string>

#include "tests/e2e/harness.h"

/// What the tests of container runtimes share.
namespace godwit::e2e {

/// A line for /bin/sh with our criu first in PATH, and nothing to read.
Outcome with_criu(const std::string& line);

/// Unmounts all that is mounted below a directory, or on it.
void unmount_below(const std::string& directory);

}  // namespace godwit::e2e
