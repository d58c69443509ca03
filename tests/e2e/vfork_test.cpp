// A parent that waits in vfork(2) can't be stopped: a dump waits a moment for its child, and no longer.
#include <sys/stat.h>

#include <thread>

#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

class Vfork : public testing::Test {
 protected:
  void mark(const std::string& name) const {
    ASSERT_EQ(mkdir((workload_.directory() / name).c_str(), 0755), 0);
  }

  Reaper reaper_;
  Workload workload_{"vfork", 0};
  TemporaryDirectory images_;
};

TEST_F(Vfork, ADumpWaitsUntilTheParentIsReleased) {
  std::thread release([&] {
    // No condition to wait for: the dump is to find a parent that waits, and then one that doesn't.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    mark("release");
  });
  const Outcome dumped = dump(workload_.root(), images_ / "checkpoint");
  release.join();
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored restored = restore(images_ / "checkpoint");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload_.verdict(), "pass");
}

TEST_F(Vfork, AParentThatWaitsTooLongIsRefusedByName) {
  const Snapshot before = observe_at_rest(workload_.root());
  const Outcome dumped = dump(workload_.root(), images_ / "checkpoint");
  EXPECT_EQ(dumped.exit_code, 1) << dumped.words();
  EXPECT_NE(dumped.output.find("task " + std::to_string(workload_.root())), std::string::npos)
      << dumped.output;
  EXPECT_NE(dumped.output.find("vfork"), std::string::npos) << dumped.output;
  const std::vector<std::string> differences = compare_now(before, workload_.root());
  EXPECT_TRUE(differences.empty()) << joined(differences);
  mark("release");
  EXPECT_EQ(workload_.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
