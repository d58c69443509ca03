#include "images-format/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace godwit {

// hash_avx2.cpp
uint64_t hash_bytes_avx2(const void* data, size_t size, uint64_t seed);

namespace {

uint64_t hash_bytes_plain(const void* data, size_t size, uint64_t seed) {
  return XXH3_64bits_withSeed(data, size, seed);
}

}  // namespace

uint64_t hash_bytes(std::span<const std::byte> data, uint64_t seed) {
  static const auto best = __builtin_cpu_supports("avx2") != 0 ? hash_bytes_avx2 : hash_bytes_plain;
  return best(data.data(), data.size(), seed);
}

}  // namespace godwit
