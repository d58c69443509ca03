// A tree that changes while it is being dumped: threads end, a task is killed.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/system_call_driver.h"

namespace godwit::e2e {

namespace {

TEST(Restless, ThreadsThatEndDuringTheFreezeAreNoFailure) {
  const Reaper reaper;
  Workload workload("restless", kOtherUser);
  const TemporaryDirectory images;
  for (int i = 0; i < 20; ++i) {
    const Outcome dumped =
        dump(workload.root(), images / std::to_string(i), {"--leave-running", "--no-sync"});
    ASSERT_TRUE(dumped.ok()) << i << ": " << dumped.words();
  }
  const Outcome dumped = dump(workload.root(), images / "last");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored restored = restore(images / "last");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// One task of the tree is killed at a system call of the dump: the dump fails, or the checkpoint has it
/// dead, or whole.
class KilledTask : public testing::Test {
 protected:
  /// Returns the number of system calls of the dump.
  long dump_and_kill(long at) {
    const Workload workload("heartbeat", 0);
    const std::vector<pid_t> before = tree_of(workload.root());
    const pid_t victim = before.back();
    const std::string image = images_ / std::to_string(at);
    const DrivenEnd end = drive({GODWIT_BINARY, "dump", "-t", std::to_string(workload.root()), "-D", image},
                                SIGKILL, at, 60, victim);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0) {
      EXPECT_NE(end.output.find("godwit: dump: "), std::string::npos) << end.output;
      EXPECT_NE(access(image.c_str(), F_OK), 0) << image;
      ++failed_;
      kill_tree(workload.root());
      return end.calls;
    }
    EXPECT_TRUE(wait_until_gone(before));
    const Restored restored = restore(image);
    EXPECT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    const std::vector<pid_t> tree = tree_of(workload.root());
    EXPECT_NE(std::find(tree.begin(), tree.end(), victim), tree.end());
    kill_tree(workload.root());
    return end.calls;
  }

  Reaper reaper_;
  TemporaryDirectory images_;
  int failed_ = 0;
};

TEST_F(KilledTask, IsNoHalfATask) {
  const long calls = dump_and_kill(0);
  for (long at = 1; at <= calls; at += calls / 25) {
    SCOPED_TRACE(at);
    dump_and_kill(at);
  }
  EXPECT_GT(failed_, 0);
}

}  // namespace

}  // namespace godwit::e2e
