#pragma once

#include <cstdint>

namespace godwit {

/// struct sigaction as rt_sigaction(2) has it on x86-64, which isn't glibc's.
struct KernelSigaction {
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};
static_assert(sizeof(KernelSigaction) == 32);

}  // namespace godwit
