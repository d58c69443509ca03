// Dumps that leave the tree where it is: nothing of it changes, and it can be dumped again.
#include <signal.h>

#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

class Leave : public testing::TestWithParam<const char*> {
 protected:
  Reaper reaper_;
  TemporaryDirectory images_;
};

void expect_same(const Snapshot& before, pid_t root) {
  const std::vector<std::string> differences = compare_now(before, root);
  EXPECT_TRUE(differences.empty()) << joined(differences);
}

/// Three dumps in a row of a running tree, and then a restore of the last one.
TEST_P(Leave, RunningIsUntouched) {
  Workload workload(GetParam(), kOtherUser);
  const Snapshot before = observe_at_rest(workload.root());
  for (const char* name : {"first", "second", "third"}) {
    SCOPED_TRACE(name);
    const Outcome dumped = dump(workload.root(), images_ / name, {"--leave-running"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    expect_same(before, workload.root());
  }
  kill_tree(workload.root());
  const Restored restored = restore(images_ / "third");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  expect_same(before, workload.root());
  EXPECT_EQ(workload.verdict(), "pass");
}

/// The tree that goes on passes its own check.
TEST_P(Leave, RunningGoesOn) {
  Workload workload(GetParam(), 0);
  const Outcome dumped = dump(workload.root(), images_ / "checkpoint", {"--leave-running"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

INSTANTIATE_TEST_SUITE_P(Workloads, Leave,
                         testing::Values("threads", "registers", "signals", "timers", "seccomp", "tree",
                                         "memory", "heartbeat"),
                         [](const testing::TestParamInfo<const char*>& one) {
                           return std::string(one.param);
                         });

class Checkpoints : public testing::Test {
 protected:
  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_F(Checkpoints, LeaveTheTreeStopped) {
  Workload workload("heartbeat", 0);
  const std::vector<pid_t> tree = tree_of(workload.root());
  const Outcome dumped = dump(workload.root(), images_ / "checkpoint", {"--leave-stopped"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  for (const pid_t pid : tree) {
    EXPECT_EQ(state_of(pid), 'T');
  }
  for (const pid_t pid : tree) {
    kill(pid, SIGCONT);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

/// The same checkpoint, restored twice, one time after the other.
TEST_F(Checkpoints, AreRestoredManyTimes) {
  Workload workload("memory", 0);
  const Snapshot before = observe_at_rest(workload.root());
  const Outcome dumped = dump(workload.root(), images_ / "checkpoint", {"--compress", "zstd"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  for (int time = 0; time < 3; ++time) {
    const Restored restored = restore(images_ / "checkpoint");
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    expect_same(before, workload.root());
    if (time < 2) {
      kill_tree(workload.root());
    }
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
