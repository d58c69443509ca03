#pragma once

#include <cstdint>
#include <string>

namespace godwit::e2e {

/// Pages of a checkpoint by their kind, over all of its memory objects.
struct PageCounts {
  uint64_t present = 0;
  uint64_t in_parent = 0;
  uint64_t inherited = 0;
};

/// As `godwit inspect` says. Reports a checkpoint that it refuses to gtest.
[[nodiscard]] PageCounts page_counts(const std::string& checkpoint);

}  // namespace godwit::e2e
