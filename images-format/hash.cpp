#include "images-format/hash.h"

#define _Bool bool  // NOLINT(bugprone-reserved-identifier): the header is written for C and for g++
#include <sys/platform/x86.h>
#undef _Bool

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
  // What the C library has found out already: CPUID traps in a virtual machine, and gcc's own test asks it
  // anew.
  static const auto best = CPU_FEATURE_ACTIVE(AVX2) ? hash_bytes_avx2 : hash_bytes_plain;
  return best(data.data(), data.size(), seed);
}

}  // namespace godwit
