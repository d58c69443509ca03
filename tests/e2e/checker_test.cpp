// The checker isn't blind: what changes is found, by name.
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

class Checker : public testing::Test {
 protected:
  /// Differences after `change`, as one text.
  template <typename Change>
  std::string after(Change change) {
    const Snapshot before = observe(root());
    change();
    std::string text;
    for (const std::string& difference : compare(before, observe(root()))) {
      text += difference + "\n";
    }
    return text;
  }

  [[nodiscard]] pid_t root() const { return workload_.root(); }

  static void expect(const std::string& differences, const std::string& text) {
    EXPECT_NE(differences.find(text), std::string::npos) << "no '" << text << "' in:\n" << differences;
  }

  Reaper reaper_;
  Workload workload_{"heartbeat", 0};
};

TEST_F(Checker, FindsNothingWhereNothingChanges) {
  EXPECT_EQ(after([] {}), "");
}

TEST_F(Checker, FindsScheduling) {
  expect(after([&] { setpriority(PRIO_PROCESS, static_cast<id_t>(root()), 5); }), "stat: nice: was 0; is 5");
}

TEST_F(Checker, FindsAThreadsTimerSlack) {
  const int thread = numbers_in("/proc/" + std::to_string(root()) + "/task").back();
  expect(after([&] { write_text("/proc/" + std::to_string(thread) + "/timerslack_ns", "12345"); }),
         "thread " + std::to_string(thread) + ": timerslack_ns: content: was 50000");
}

TEST_F(Checker, FindsLimits) {
  expect(after([&] {
           const rlimit limit{11, 1000};
           prlimit(root(), RLIMIT_NOFILE, &limit, nullptr);
         }),
         ": limits: content: was");
}

TEST_F(Checker, FindsAStop) {
  expect(after([&] {
           kill(root(), SIGSTOP);
           EXPECT_TRUE(wait_until([&] { return state_of(root()) == 'T'; }));
         }),
         "status: State: was alive; is T");
}

TEST_F(Checker, FindsADeadTask) {
  const std::vector<pid_t> tree = tree_of(root());
  expect(after([&] {
           kill(tree.back(), SIGKILL);
           EXPECT_TRUE(wait_until([&] { return state_of(tree.back()) == 'Z'; }));
         }),
         "task " + std::to_string(tree.back()) + " thread " + std::to_string(tree.back()) +
             ": status: State: was alive; is Z");
}

/// Of two trees that differ in all numbers, what isn't a number is the same; sharing is seen.
TEST_F(Checker, TellsSharedDescriptionsFromEqualOnes) {
  const Snapshot snapshot = observe(root());
  int shared = 0;
  for (const auto& [key, value] : snapshot.facts) {
    if (key.field == "open file description" && key.owner != "task " + std::to_string(root()) &&
        value.starts_with("of task " + std::to_string(root()) + " ")) {
      ++shared;
    }
  }
  // Standard input, output and error and both ends of the pipe, in two children.
  EXPECT_EQ(shared, 10);
}

}  // namespace

}  // namespace godwit::e2e
