#pragma once

#include <cstdint>
#include <ctime>

namespace godwit {

/// What a clock shows, in ns: clock_gettime(2). Throws Error if there is no such clock.
[[nodiscard]] uint64_t clock_ns(clockid_t clock);
/// CLOCK_MONOTONIC in ns.
[[nodiscard]] uint64_t monotonic_ns();

}  // namespace godwit
