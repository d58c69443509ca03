// A restore has the hard limit of descriptors that its tree has: it must get by with little more than the
// tree itself.
#include <sys/resource.h>

#include "kernel/error.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

constexpr rlim_t kHardLimit = 4096;
constexpr rlim_t kLimitOfRestore = kHardLimit + 256;

class DescriptorLimit : public testing::Test {
 protected:
  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_F(DescriptorLimit, AForkedPairSharesMoreThanHalf) {
  const auto limit = [](rlim_t descriptors) { return fmt::format("--nofile={0}:{0}", descriptors); };
  Workload workload(0, [&](const TemporaryDirectory& directory) {
    return std::vector<std::string>{"/usr/bin/prlimit", limit(kHardLimit),
                                    std::string(WORKLOAD_DIR) + "/many_descriptors", directory.path(),
                                    "forked"};
  });
  ASSERT_GT(numbers_in(fmt::format("/proc/{}/fd", workload.root())).size(), kLimitOfRestore / 2);
  const Snapshot before = observe_at_rest(workload.root());
  const Outcome dumped = dump(workload.root(), images_ / "checkpoint");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Outcome restored = run({"/usr/bin/prlimit", limit(kLimitOfRestore), GODWIT_BINARY, "restore", "-D",
                                images_ / "checkpoint", "--detach", "--pidfile", images_ / "pid"});
  ASSERT_TRUE(restored.ok()) << restored.words();
  const std::vector<std::string> differences = compare_now(before, workload.root());
  EXPECT_TRUE(differences.empty()) << joined(differences);
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Different numbers for the same, up to the last that the limit of both allows.
TEST_F(DescriptorLimit, NumbersThatDifferUpToTheLimit) {
  const std::string limit = fmt::format("--nofile={0}:{0}", kHardLimit);
  Workload workload(0, [&](const TemporaryDirectory& directory) {
    return std::vector<std::string>{"/usr/bin/prlimit", limit,
                                    std::string(WORKLOAD_DIR) + "/high_descriptors", directory.path()};
  });
  for (int round = 0; round < 2; ++round) {
    const Snapshot before = observe_at_rest(workload.root());
    const std::string checkpoint = images_ / fmt::format("checkpoint-{}", round);
    const Outcome dumped = dump(workload.root(), checkpoint);
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const Outcome restored = run({"/usr/bin/prlimit", limit, GODWIT_BINARY, "restore", "-D", checkpoint,
                                  "--detach", "--pidfile", images_ / "pid"});
    ASSERT_TRUE(restored.ok()) << restored.words();
    const std::vector<std::string> differences = compare_now(before, workload.root());
    EXPECT_TRUE(differences.empty()) << joined(differences);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
