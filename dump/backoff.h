#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace godwit {

inline void pause_ns(uint64_t nanoseconds) {
  const timespec pause{0, static_cast<long>(nanoseconds)};
  ::nanosleep(&pause, nullptr);
}

/// Yields at first, then sleeps longer and longer, up to a millisecond.
class Backoff {
 public:
  void rest() {
    if (++rounds_ < 50) {
      ::sched_yield();
    } else {
      pause_ns(std::min<uint64_t>(20'000 * (rounds_ - 49), 1'000'000));
    }
  }

 private:
  uint64_t rounds_ = 0;
};

}  // namespace godwit
