#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>
#include <string>

#include "tests/fuzz/image_reader.h"

namespace godwit {
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::vector<std::byte> mutate(std::vector<std::byte> bytes) {
    for (size_t steps = 1 + below(3); steps > 0; --steps) {
      step(bytes);
    }
    return bytes;
  }

 private:
  size_t below(size_t bound) { return random_() % bound; }

  void step(std::vector<std::byte>& bytes) {
    constexpr std::array kEdges = {0x00, 0x01, 0x7f, 0x80, 0xff};
    const size_t at = below(bytes.size());
    const auto here = bytes.begin() + static_cast<ptrdiff_t>(at);
    const auto near = here + static_cast<ptrdiff_t>(below(std::min<size_t>(bytes.size() - at, 32)));
    switch (below(5)) {
      case 0:
        *here ^= static_cast<std::byte>(1U << below(8));
        break;
      case 1:
        *here = static_cast<std::byte>(kEdges[below(kEdges.size())]);
        break;
      case 2:  // the largest varint
        bytes.insert(bytes.erase(here),
                     {std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff},
                      std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x01}});
        break;
      case 3:
        bytes.erase(here, near);
        break;
      default: {
        const std::vector<std::byte> copy(here, near);
        bytes.insert(here, copy.begin(), copy.end());
      }
    }
  }

  std::mt19937_64 random_;
};

/// GODWIT_FUZZ_ITERATIONS asks for more than a test run has time for.
int iterations() {
  const char* asked = std::getenv("GODWIT_FUZZ_ITERATIONS");
  return asked != nullptr ? std::atoi(asked) : 10000;
}

TEST(ImageMutation, EndsInAnErrorOrAGoodImage) {
  const std::vector<std::byte> sample = sample_frames();
  ASSERT_TRUE(read_hostile_image(sample));
  int accepted = 0;
  for (int i = 0; i < iterations(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(i));
    Mutator mutator(static_cast<uint64_t>(i));
    accepted += read_hostile_image(mutator.mutate(sample)) ? 1 : 0;
  }
  // Registers can be anything, ids can't: if all or none were accepted, the mutations don't reach the
  // records.
  EXPECT_GT(accepted, iterations() / 20);
  EXPECT_LT(accepted, iterations() * 19 / 20);
}

}  // namespace
}  // namespace godwit
