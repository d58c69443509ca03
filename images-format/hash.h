#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace godwit {

/// XXH3, 64 bits, with `seed`; the widest vectors that this CPU has are used. For blocks, not for keys:
/// calling it costs more than hashing a few bytes does.
[[nodiscard]] uint64_t hash_bytes(std::span<const std::byte> data, uint64_t seed = 0);

}  // namespace godwit
