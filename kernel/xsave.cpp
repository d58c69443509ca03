#include "kernel/xsave.h"

#include <cpuid.h>

#include "kernel/error.h"

namespace godwit {

XsaveLayout xsave_layout() {
  unsigned a = 0;
  unsigned bytes = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(0xd, 0, &a, &bytes, &c, &d) == 0) {
    throw error("this CPU has no xsave");
  }
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return {uint64_t{high} << 32 | low, bytes};
}

}  // namespace godwit
