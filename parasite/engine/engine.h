#pragma once

#include <cstddef>
#include <span>

extern "C" const std::byte godwit_engine_blob[];
extern "C" const std::byte godwit_engine_blob_end[];

namespace godwit {

/// The engine's code: position-independent, entry at its first byte, a function `void (script::Script*)`.
[[nodiscard]] inline std::span<const std::byte> engine_code() {
  return {godwit_engine_blob, godwit_engine_blob_end};
}

}  // namespace godwit
