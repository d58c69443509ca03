// Kills either end of `godwit dump -o - | godwit restore -i -` at its system calls: at every moment the tree
// runs on, or there is a whole checkpoint of it. GODWIT_SWEEP_STRIDE and GODWIT_SWEEP_FROM as in
// kill_sweep_test.cpp.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <thread>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/system_call_driver.h"

namespace godwit::e2e {

namespace {

constexpr long kPoints = 30;

long setting(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text != nullptr ? strtol(text, nullptr, 10) : otherwise;
}

/// Reaps each of some children once, whenever it ends: their pids may be made anew meanwhile.
class Reaping {
 public:
  explicit Reaping(std::vector<pid_t> pids)
      : thread_([this, left = std::move(pids)]() mutable {
          while (!done_) {
            std::erase_if(left, [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG | __WALL) == pid; });
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  Reaping(const Reaping&) = delete;
  Reaping& operator=(const Reaping&) = delete;
  ~Reaping() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

class KillSweepOfAPipe : public testing::Test {
 protected:
  enum class End { Dump, Restore };

  void sweep(End killed);
  std::string point(End killed, long at, DrivenEnd& end);
  std::string judge();

  /// The command with one end of a pipe as its standard input or output.
  [[nodiscard]] std::vector<std::string> command(End which, const Fd& pipe) const {
    const std::string words = which == End::Dump ? fmt::format("dump -t {} -o - > ", workload_.root())
                                                 : std::string("restore -i - --detach < ");
    return {"/bin/sh", "-c",
            fmt::format("export TMPDIR='{}'; exec '" GODWIT_BINARY "' {} /proc/{}/fd/{}", copies_.path(),
                        words, getpid(), pipe.get())};
  }

  [[nodiscard]] std::vector<std::string> copies() const {
    return lines_of(run({"/bin/ls", copies_.path()}).output);
  }

  [[nodiscard]] std::vector<pid_t> sorted_tree() const {
    std::vector<pid_t> tree = tree_of(workload_.root());
    std::sort(tree.begin(), tree.end());
    return tree;
  }

  Reaper reaper_;
  TemporaryDirectory copies_;
  Workload workload_{"heartbeat", 0};
  Snapshot before_;
  std::vector<pid_t> pids_;
  std::map<std::string, long> outcomes_;
};

/// Where the tree isn't whole any more, there is a copy that is.
std::string KillSweepOfAPipe::judge() {
  const bool whole = sorted_tree() == pids_ && std::none_of(pids_.begin(), pids_.end(), [](pid_t pid) {
                       return state_of(pid).value_or('Z') == 'Z';
                     });
  const std::vector<std::string> kept = copies();
  std::string outcome = "the tree runs";
  if (!whole) {
    if (kept.size() != 1) {
      return fmt::format("the tree isn't whole, and there are {} copies", kept.size());
    }
    for (const pid_t pid : descendants()) {
      kill(pid, SIGKILL);
    }
    if (!wait_until_gone(pids_)) {
      return "what is left can't be killed";
    }
    const Restored restored = restore_from_file(copies_ / kept.front());
    if (!restored.outcome.ok()) {
      return "the copy can't be restored: " + restored.outcome.words();
    }
    outcome = "a copy is there";
  } else if (!kept.empty()) {
    outcome += ", and a copy is there";
  }
  for (const std::string& name : kept) {
    const Outcome verified = godwit({"verify", copies_ / name});
    if (!verified.ok()) {
      return "an incomplete copy has a name: " + verified.output;
    }
    unlink((copies_ / name).c_str());
  }
  ++outcomes_[outcome];
  const std::vector<std::string> differences = compare_now(before_, workload_.root());
  return differences.empty() ? "" : differences.back();
}

std::string KillSweepOfAPipe::point(End killed, long at, DrivenEnd& end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return "no pipe";
  }
  Fd from(ends[0]);
  Fd to(ends[1]);
  const End other = killed == End::Dump ? End::Restore : End::Dump;
  Fd& driven_end = killed == End::Dump ? to : from;
  Fd& other_end = killed == End::Dump ? from : to;
  {
    const Reaping reaping(pids_);
    const pid_t beside = launch(command(other, other_end));
    const std::string opened =
        fmt::format("/proc/{}/fd/{}", beside, other == End::Dump ? STDOUT_FILENO : STDIN_FILENO);
    if (!wait_until([&] { return try_read_link(opened).value_or("").starts_with("pipe:"); })) {
      return "the other end doesn't begin";
    }
    other_end.reset();
    end = drive(command(killed, driven_end), SIGKILL, at);
    driven_end.reset();
    if (wait_for_end(beside) < 0) {
      return "the other end doesn't end";
    }
  }
  // What a killed command takes with it shows at first as if it lived.
  (void)wait_until(
      [&] {
        for (const pid_t pid : pids_) {
          waitpid(pid, nullptr, WNOHANG | __WALL);
        }
        return descendants().empty();
      },
      0.3);
  return judge();
}

void KillSweepOfAPipe::sweep(End killed) {
  before_ = observe_at_rest(workload_.root());
  pids_ = sorted_tree();
  DrivenEnd reference;
  ASSERT_EQ(point(killed, 0, reference), "") << reference.output;
  ASSERT_EQ(reference.status, 0) << reference.output;
  ASSERT_EQ(outcomes_["the tree runs"], 1) << "without a kill it is restored";
  outcomes_.clear();
  const long stride = std::max(1L, setting("GODWIT_SWEEP_STRIDE", reference.calls / kPoints));
  for (long at = setting("GODWIT_SWEEP_FROM", 1); at <= reference.calls; at += stride) {
    DrivenEnd end;
    ASSERT_EQ(point(killed, at, end), "")
        << "call " << at << " of " << reference.calls << ": " << system_call_name(end.number) << "\n"
        << end.output;
  }
  printf("SIGKILL among %ld system calls:\n", reference.calls);
  for (const auto& [outcome, count] : outcomes_) {
    printf("  %ld: %s\n", count, outcome.c_str());
  }
  EXPECT_EQ(workload_.verdict(), "pass");
}

TEST_F(KillSweepOfAPipe, OfItsReader) {
  sweep(End::Restore);
}

TEST_F(KillSweepOfAPipe, OfItsWriter) {
  sweep(End::Dump);
}

}  // namespace

}  // namespace godwit::e2e
