#pragma once

#include <cstdint>

/// How this CPU and kernel lay out the extended registers (x87, SSE, AVX, AVX-512, ...).
namespace godwit {

struct XsaveLayout {
  uint64_t features = 0;  // XCR0: components that the kernel has switched on
  uint32_t bytes = 0;     // of an uncompacted xsave area, as ptrace(2) takes and gives it
};

/// Of this CPU: Intel SDM, volume 1, chapter 13. Throws Error without xsave.
[[nodiscard]] XsaveLayout xsave_layout();

}  // namespace godwit
