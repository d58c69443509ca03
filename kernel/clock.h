#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>

namespace godwit {

/// What a clock shows, in ns: clock_gettime(2). Throws Error if there is no such clock.
[[nodiscard]] uint64_t clock_ns(clockid_t clock);
/// CLOCK_MONOTONIC in ns.
[[nodiscard]] uint64_t monotonic_ns();

/// What a time namespace adds to the clocks of the machine, in ns. See time_namespaces(7).
struct ClockOffsets {
  int64_t monotonic_ns = 0;
  int64_t boottime_ns = 0;

  /// What it adds to that clock: 0 for those of the world.
  [[nodiscard]] int64_t of(clockid_t clock) const;
};

/// Of the namespace in which children of that process will be. All 0 on a kernel without time namespaces.
/// Throws Error.
[[nodiscard]] ClockOffsets read_clock_offsets(pid_t pid);
/// As the kernel takes them, one clock a line.
[[nodiscard]] std::string clock_offsets_text(const ClockOffsets& offsets);

}  // namespace godwit
