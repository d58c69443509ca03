// Who is killed while a tree is being restored: the restore fails, and never waits for the dead.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

/// The pids that a restore of the tree makes: its tasks, and leaders of sessions and groups that are gone.
struct Nodes {
  std::vector<pid_t> tasks;
  std::vector<pid_t> zombies;
  std::vector<pid_t> helpers;
  std::set<pid_t> sessions;
};

Nodes nodes_of(pid_t root) {
  Nodes nodes;
  std::set<pid_t> leaders;
  const std::vector<pid_t> tree = tree_of(root);
  for (const pid_t pid : tree) {
    const pid_t session = getsid(pid);
    nodes.sessions.insert(session);
    leaders.insert({session, getpgid(pid)});
    (state_of(pid) == 'Z' ? nodes.zombies : nodes.tasks).push_back(pid);
  }
  for (const pid_t leader : leaders) {
    if (std::find(tree.begin(), tree.end(), leader) == tree.end()) {
      nodes.helpers.push_back(leader);
    }
  }
  return nodes;
}

/// Kills `victim` as soon as there is such a process, from a child of the test. Nobody outside the restored
/// tree and our own session is touched, should somebody else get that number.
pid_t kill_when_born(pid_t victim, std::set<pid_t> sessions) {
  sessions.insert(getsid(0));
  const pid_t killer = fork();
  if (killer == 0) {
    for (;;) {
      const pid_t session = getsid(victim);
      if (session > 0) {
        _exit(sessions.contains(session) && kill(victim, SIGKILL) == 0 ? 0 : 1);
      }
    }
  }
  return killer;
}

class KilledNode : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome dumped = dump(workload_.root(), image());
    ASSERT_TRUE(dumped.ok()) << dumped.words();
  }

  /// A victim that had done its part when it was hit proves nothing: so it is tried some times.
  void expect_failure(pid_t victim) {
    constexpr int kTries = 20;
    for (int i = 0; i < kTries; ++i) {
      const pid_t killer = kill_when_born(victim, nodes_.sessions);
      const Restored restored = restore(image());
      kill(killer, SIGKILL);
      (void)wait_for_end(killer);
      ASSERT_FALSE(restored.outcome.hung) << "the restore waits for " << victim;
      if (restored.outcome.exit_code == 1) {
        EXPECT_TRUE(wait_until([] { return descendants().empty(); }, 5))
            << "something is left of the restore";
        return;
      }
      kill_tree(restored.root);
    }
    ADD_FAILURE() << "no restore has failed though " << victim << " was killed";
  }

  [[nodiscard]] std::string image() const { return images_ / "checkpoint"; }

  Reaper reaper_;
  TemporaryDirectory images_;
  Workload workload_{"tree", 0};
  Nodes nodes_ = nodes_of(workload_.root());
};

TEST_F(KilledNode, IsAHelper) {
  ASSERT_FALSE(nodes_.helpers.empty());
  for (const pid_t helper : nodes_.helpers) {
    expect_failure(helper);
  }
}

TEST_F(KilledNode, IsAZombie) {
  ASSERT_FALSE(nodes_.zombies.empty());
  for (const pid_t zombie : nodes_.zombies) {
    expect_failure(zombie);
  }
}

TEST_F(KilledNode, IsATask) {
  constexpr size_t kSome = 10;
  for (size_t i = 0; i < std::min(kSome, nodes_.tasks.size()); ++i) {
    expect_failure(nodes_.tasks[i]);
  }
}

}  // namespace

}  // namespace godwit::e2e
