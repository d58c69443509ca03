// Kills godwit, by SIGTERM and by SIGKILL, at its system calls during a dump and during a restore of a small
// tree. Every how many calls: GODWIT_SWEEP_STRIDE (default: so that about 40 points of each kind are tried,
// 120 of SIGKILL in a dump; 1: all). Only a part of the calls: GODWIT_SWEEP_FROM, GODWIT_SWEEP_TO. Under
// another seccomp filter: GODWIT_SWEEP_FILTER=narrow.
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>

#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/system_call_driver.h"

namespace godwit::e2e {

namespace {

long setting(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text != nullptr ? strtol(text, nullptr, 10) : otherwise;
}

/// The calls of so many at which to kill.
std::vector<long> points_of(long calls, long how_many = 40) {
  const long stride = std::max(1L, setting("GODWIT_SWEEP_STRIDE", calls / how_many));
  std::vector<long> points;
  for (long at = setting("GODWIT_SWEEP_FROM", 1); at <= std::min(calls, setting("GODWIT_SWEEP_TO", calls));
       at += stride) {
    points.push_back(at);
  }
  return points;
}

const std::string kIncomplete = "an incomplete checkpoint bears the final name: ";

bool present(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

/// Context switches of all threads: each beats once in a millisecond.
std::vector<unsigned long> switches(const std::vector<pid_t>& pids) {
  std::vector<unsigned long> counts;
  for (const pid_t pid : pids) {
    const std::string directory = "/proc/" + std::to_string(pid) + "/task";
    for (const int tid : numbers_in(directory)) {
      for (const auto& [name, value] :
           fields_of(try_read(directory + "/" + std::to_string(tid) + "/status").value_or(""))) {
        if (name == "voluntary_ctxt_switches") {
          counts.push_back(std::stoul(value));
        }
      }
    }
  }
  return counts;
}

bool all_beat(const std::vector<pid_t>& pids) {
  const std::vector<unsigned long> before = switches(pids);
  return wait_until(
      [&] {
        const std::vector<unsigned long> now = switches(pids);
        if (now.size() != before.size()) {
          return false;
        }
        for (size_t i = 0; i < now.size(); ++i) {
          if (now[i] < before[i] + 3) {
            return false;
          }
        }
        return true;
      },
      2);
}

/// A point at which something went wrong.
struct Harm {
  long at;
  std::string call;
  std::string what;
};

class KillSweep : public testing::Test {
 protected:
  void start_workload() {
    workload_ = std::make_unique<Workload>(program_, 0, arguments_);
    before_ = observe_at_rest(workload_->root());
    std::sort(before_.pids.begin(), before_.pids.end());
  }

  [[nodiscard]] std::string image() const { return images_ / "checkpoint"; }

  [[nodiscard]] std::vector<std::string> dump_command() const {
    return {GODWIT_BINARY, "dump", "-t", std::to_string(workload_->root()), "-D", image()};
  }

  [[nodiscard]] std::vector<std::string> restore_command() const {
    return {GODWIT_BINARY, "restore", "-D", image(), "--detach"};
  }

  void remove_image() {
    const Outcome removed = run({"/bin/rm", "-rf", image()});
    ASSERT_TRUE(removed.ok()) << removed.words();
  }

  [[nodiscard]] std::vector<pid_t> sorted_tree() const {
    std::vector<pid_t> tree = tree_of(workload_->root());
    std::sort(tree.begin(), tree.end());
    return tree;
  }

  /// Is the tree what it was, and alive? Empty, or what is wrong.
  std::string tree_trouble() {
    if (sorted_tree() != before_.pids) {
      return "tasks are missing";
    }
    // Before it is seen that they don't beat: a dead one stays until its parent, which beats, asks for it.
    if (std::any_of(before_.pids.begin(), before_.pids.end(),
                    [](pid_t pid) { return state_of(pid) == 'Z'; })) {
      return "tasks have died";
    }
    if (!all_beat(before_.pids)) {
      return "threads stand still";
    }
    const std::vector<std::string> differences = compare_now(before_, workload_->root());
    return differences.empty() ? ""
                               : differences.back() + fmt::format(" (of {} differences)", differences.size());
  }

  void print(const char* what, int signal, size_t tried, long calls, const std::vector<Harm>& harms) {
    printf("%s, %s: %zu points of %ld system calls tried, %zu did harm\n", what,
           signal == SIGKILL ? "SIGKILL" : "SIGTERM", tried, calls, harms.size());
    for (const auto& [outcome, count] : outcomes_) {
      printf("  %ld: %s\n", count, outcome.c_str());
    }
    outcomes_.clear();
    for (const Harm& harm : harms) {
      printf("  harm at call %ld (%s): %s\n", harm.at, harm.call.c_str(), harm.what.c_str());
    }
  }

  void sweep_dump(int signal, long how_many);
  std::string dump_point(int signal, long at, DrivenEnd& end);
  std::string restore_point(int signal, long at, DrivenEnd& end);

  Reaper reaper_;
  TemporaryDirectory images_;
  std::string program_ = "heartbeat";
  std::vector<std::string> arguments_;
  std::unique_ptr<Workload> workload_;
  Snapshot before_;
  std::map<std::string, long> outcomes_;  // of points that did no harm: how many ended so
};

/// One killed dump, and a whole one to the same name afterwards.
std::string KillSweep::dump_point(int signal, long at, DrivenEnd& end) {
  end = drive(dump_command(), signal, at);
  std::string outcome = "no image, the tree ran on";
  if (present(image())) {
    // Complete: from here on it is the image that counts, and the tree may be gone or go.
    const Outcome verified = godwit({"verify", image()});
    if (!verified.ok()) {
      return kIncomplete + verified.output;
    }
    outcome = "a whole image, the tree ran on";
    if (sorted_tree() != before_.pids) {
      outcome = "a whole image, the tree has ended";
      for (const pid_t pid : before_.pids) {
        kill(pid, SIGKILL);
      }
      if (!wait_until_gone(before_.pids)) {
        return "the tree can't be killed";
      }
      const Restored restored = restore(image());
      if (!restored.outcome.ok()) {
        return "what was dumped can't be restored: " + restored.outcome.words();
      }
    }
    remove_image();
  }
  const std::string trouble = tree_trouble();
  if (!trouble.empty()) {
    return trouble;
  }
  const Outcome dumped = dump(workload_->root(), image(), {"--leave-running"});
  if (!dumped.ok()) {
    return "the next dump fails: " + dumped.words();
  }
  remove_image();
  ++outcomes_[outcome];
  return "";
}

/// One killed restore: nothing is left, or all runs.
std::string KillSweep::restore_point(int signal, long at, DrivenEnd& end) {
  end = drive(restore_command(), signal, at);
  const auto any_left = [&] {
    return std::any_of(before_.pids.begin(), before_.pids.end(), [](pid_t pid) {
      waitpid(pid, nullptr, WNOHANG | __WALL);
      return state_of(pid).has_value();
    });
  };
  if (wait_until([&] { return !any_left() && descendants().empty(); }, 0.3)) {
    ++outcomes_["nothing is left"];
    return WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0 ? "it says that all is well" : "";
  }
  std::string trouble = tree_trouble();
  if (trouble.empty()) {
    ++outcomes_["the whole tree runs"];
  }
  for (const pid_t pid : descendants()) {
    kill(pid, SIGKILL);
  }
  if (!wait_until([&] { return !any_left() && descendants().empty(); })) {
    trouble += " what is left can't be killed";
  }
  return trouble;
}

void KillSweep::sweep_dump(int signal, long how_many) {
  start_workload();
  DrivenEnd reference;
  ASSERT_EQ(dump_point(signal, 0, reference), "") << reference.output;
  outcomes_.clear();
  std::vector<Harm> harms;
  const std::vector<long> points = points_of(reference.calls, how_many);
  for (const long at : points) {
    DrivenEnd end;
    const std::string trouble = dump_point(signal, at, end);
    if (!trouble.empty()) {
      harms.push_back({at, system_call_name(end.number), trouble});
      for (const pid_t pid : descendants()) {
        kill(pid, SIGKILL);
      }
      ASSERT_TRUE(wait_until_gone(before_.pids));
      remove_image();
      start_workload();
    }
  }
  print("dump", signal, points.size(), reference.calls, harms);
  EXPECT_TRUE(harms.empty());
  EXPECT_EQ(workload_->verdict(), "pass");
}

TEST_F(KillSweep, DumpBySigterm) {
  sweep_dump(SIGTERM, 40);
}

/// At no point does it hurt: nothing of what was injected stays, and no thread is lost.
TEST_F(KillSweep, DumpBySigkill) {
  sweep_dump(SIGKILL, 120);
}

/// The code that leads home is in the program itself, not in a C library.
TEST_F(KillSweep, DumpOfAStaticProgramBySigkill) {
  program_ = "heartbeat_static";
  sweep_dump(SIGKILL, 60);
}

/// Without godwit the filter applies again to what leads home.
TEST_F(KillSweep, DumpOfAFilteredTreeBySigkill) {
  const char* filter = getenv("GODWIT_SWEEP_FILTER");
  arguments_ = {filter != nullptr ? filter : "container"};
  sweep_dump(SIGKILL, 60);
}

TEST_F(KillSweep, Restore) {
  start_workload();
  const Outcome dumped = dump(workload_->root(), image());
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  for (const int signal : {SIGTERM, SIGKILL}) {
    DrivenEnd reference;
    ASSERT_EQ(restore_point(signal, 0, reference), "") << reference.output;
    outcomes_.clear();
    std::vector<Harm> harms;
    const std::vector<long> points = points_of(reference.calls);
    for (const long at : points) {
      DrivenEnd end;
      const std::string trouble = restore_point(signal, at, end);
      if (!trouble.empty()) {
        harms.push_back({at, system_call_name(end.number), trouble});
      }
    }
    print("restore", signal, points.size(), reference.calls, harms);
    // The tasks are untied by one call each, just before the first runs: killed among these calls, godwit
    // takes those with it that are still tied.
    EXPECT_LT(harms.size(), signal == SIGKILL ? before_.pids.size() : 1);
    for (const Harm& harm : harms) {
      EXPECT_GT(harm.at, reference.calls * 9 / 10);
    }
  }
  // The image is what it was.
  const Restored restored = restore(image());
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// The driver itself: it sees every call, and its signal comes where it should.
TEST(SystemCallDriver, CountsAndSignals) {
  const Reaper reaper;
  const std::vector<std::string> command = {"/bin/sh", "-c", "echo one; exit 3"};
  const DrivenEnd whole = drive(command, SIGKILL, 0);
  EXPECT_EQ(whole.status, 3 << 8);
  EXPECT_EQ(whole.output, "one\n");
  EXPECT_GT(whole.calls, 10);
  const DrivenEnd again = drive(command, SIGKILL, 0);
  EXPECT_EQ(again.calls, whole.calls);
  const DrivenEnd killed = drive(command, SIGKILL, whole.calls);
  EXPECT_TRUE(killed.signalled);
  EXPECT_EQ(system_call_name(killed.number), "exit_group");
  EXPECT_TRUE(WIFSIGNALED(killed.status));
}

}  // namespace

}  // namespace godwit::e2e
