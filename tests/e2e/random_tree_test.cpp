// The property: whatever the tree, everything that can be seen of it, and everything that it knows of itself,
// is the same after a dump and a restore. GODWIT_RANDOM_TREES says how many trees (default 4),
// GODWIT_RANDOM_SEED the first seed (default 1); a failing seed is repeated by GODWIT_RANDOM_TREES=1
// GODWIT_RANDOM_SEED=N.
#include <cstdio>
#include <cstdlib>

#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

unsigned long number_from(const char* variable, unsigned long otherwise) {
  const char* text = getenv(variable);
  return text != nullptr ? strtoul(text, nullptr, 10) : otherwise;
}

void check_tree(unsigned long seed, bool with_dump) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  const Reaper reaper;
  Workload workload("random_tree", seed % 2 == 0 ? 0 : kOtherUser, {std::to_string(seed)});
  printf("seed %lu: %zu tasks\n", seed, tree_of(workload.root()).size());
  for (int round = 0; with_dump && round < 2; ++round) {
    dump_and_restore(workload.root());
    if (testing::Test::HasFatalFailure()) {
      return;
    }
  }
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_TRUE(descendants().empty());
}

TEST(RandomTree, PassesByItself) {
  for (unsigned long seed = 1; seed <= 4; ++seed) {
    check_tree(seed, false);
  }
}

TEST(RandomTree, IsAsBefore) {
  const unsigned long first = number_from("GODWIT_RANDOM_SEED", 1);
  const unsigned long trees = number_from("GODWIT_RANDOM_TREES", 4);
  for (unsigned long seed = first; seed < first + trees; ++seed) {
    check_tree(seed, true);
  }
}

}  // namespace

}  // namespace godwit::e2e
