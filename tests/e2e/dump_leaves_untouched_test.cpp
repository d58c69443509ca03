// A tree that is dumped again and again with --leave-running notices nothing:
// no system call of it returns early, no register changes, nobody gets a
// signal, and nothing in /proc is different.
#include <utility>

#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

constexpr int kDumps = 50;

class DumpLeavesUntouched : public testing::TestWithParam<uid_t> {
 protected:
  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_P(DumpLeavesUntouched, FiftyTimes) {
  Workload workload("undisturbed", GetParam());
  // It says that it is ready a moment before all of it is at rest.
  Snapshot before = observe(workload.root());
  ASSERT_TRUE(wait_until([&] {
    const Snapshot earlier = std::exchange(before, observe(workload.root()));
    return compare(earlier, before).empty();
  }));
  for (int i = 0; i < kDumps; ++i) {
    const Outcome dumped =
        dump(workload.root(), images_ / std::to_string(i), {"--leave-running", "--no-sync"});
    ASSERT_TRUE(dumped.ok()) << "dump " << i << ": " << dumped.words();
  }
  // A thread that has just been let go is on its way back into its system call for a moment.
  std::vector<std::string> differences;
  const bool same = wait_until(
      [&] {
        differences = compare(before, observe(workload.root()));
        return differences.empty();
      },
      10);
  EXPECT_TRUE(same) << joined(differences);
  EXPECT_EQ(workload.verdict(), "pass");
}

INSTANTIATE_TEST_SUITE_P(Users, DumpLeavesUntouched, testing::Values(uid_t{0}, kOtherUser),
                         [](const testing::TestParamInfo<uid_t>& user) {
                           return user.param == 0 ? std::string("Root") : std::string("OtherUser");
                         });

}  // namespace

}  // namespace godwit::e2e
