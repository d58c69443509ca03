// Compiled with -mavx2. Nothing but the hash may be included here: an inline function of another header,
// compiled for AVX2, could be the copy that the linker keeps for the whole program.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <cstdint>

namespace godwit {

uint64_t hash_bytes_avx2(const void* data, size_t size, uint64_t seed);

uint64_t hash_bytes_avx2(const void* data, size_t size, uint64_t seed) {
  return XXH3_64bits_withSeed(data, size, seed);
}

}  // namespace godwit
