// Checkpoints that are made in rounds: pre-dumps of a running tree, and a last dump that has only what was
// written since. The workload changes its memory in every way in between, and knows every byte in the end.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "kernel/userfaultfd.h"
#include "tests/e2e/page_counts.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

/// No mapping of the tree is watched by a userfaultfd, and no task has one.
void expect_no_trace(pid_t root, bool tracked) {
  for (const pid_t pid : tree_of(root)) {
    size_t watched = 0;
    for (const SmapsEntry& entry : parse_smaps(try_read(fmt::format("/proc/{}/smaps", pid)).value_or(""))) {
      watched += static_cast<size_t>(std::count(entry.flags.begin(), entry.flags.end(), "uw"));
    }
    EXPECT_EQ(watched > 0, tracked) << "task " << pid;
    for (const int fd : numbers_in(fmt::format("/proc/{}/fd", pid))) {
      const auto link = try_read_link(fmt::format("/proc/{}/fd/{}", pid, fd));
      EXPECT_FALSE(link && link->find("userfaultfd") != std::string::npos) << "task " << pid;
    }
  }
}

class PreDump : public testing::Test {
 protected:
  void SetUp() override {
    if (!userfaultfd::can_track_writes()) {
      GTEST_SKIP() << "this kernel can't track writes, or that is hidden";
    }
  }

  [[nodiscard]] Outcome pre_dump(pid_t pid, const std::string& name, const std::string& parent = {}) const {
    std::vector<std::string> arguments = {"dump", "--pre-dump",  "-t", std::to_string(pid),
                                          "-D",   images_ / name};
    if (!parent.empty()) {
      arguments.insert(arguments.end(), {"--parent", images_ / parent});
    }
    return godwit(arguments);
  }

  [[nodiscard]] std::vector<std::string> on(const std::string& parent,
                                            const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--parent", images_ / parent};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  /// Lets the workload do what it does in this round.
  static void let_change(const Workload& workload, int round) {
    std::ofstream(workload.directory() / fmt::format("round-{}", round)).close();
    const std::string did = workload.directory() / fmt::format("did-{}", round);
    ASSERT_TRUE(wait_until([&] { return access(did.c_str(), F_OK) == 0; })) << did;
  }

  void restore_and_pass(Workload& workload, const std::string& name) const {
    const Restored restored = restore(images_ / name);
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    expect_no_trace(workload.root(), false);
    EXPECT_EQ(workload.verdict(), "pass");
  }

  Reaper reaper_;
  TemporaryDirectory images_;
};

class PreDumpRounds : public PreDump, public testing::WithParamInterface<uid_t> {};

/// Two pre-dumps, each in front of a round of changes, and a dump.
TEST_P(PreDumpRounds, HaveEveryByte) {
  Workload workload("rounds", GetParam());
  Outcome done = pre_dump(workload.root(), "first");
  ASSERT_TRUE(done.ok()) << done.words();
  expect_no_trace(workload.root(), true);
  let_change(workload, 1);
  done = pre_dump(workload.root(), "second", "first");
  ASSERT_TRUE(done.ok()) << done.words();
  let_change(workload, 2);
  done = dump(workload.root(), images_ / "last", on("second"));
  ASSERT_TRUE(done.ok()) << done.words();
  const PageCounts first = page_counts(images_ / "first");
  const PageCounts second = page_counts(images_ / "second");
  const PageCounts last = page_counts(images_ / "last");
  EXPECT_EQ(first.in_parent, 0U);
  EXPECT_GT(second.in_parent, 1000U);
  EXPECT_LT(second.present, first.present);
  EXPECT_GT(last.in_parent, 1000U);
  EXPECT_LT(last.present, last.in_parent);
  const Outcome verified = godwit({"verify", images_ / "last"});
  EXPECT_TRUE(verified.ok()) << verified.words();
  restore_and_pass(workload, "last");
}

/// A dump that names no parent has everything, and isn't disturbed by what tracks writes.
TEST_P(PreDumpRounds, CanBeIgnoredByTheDump) {
  Workload workload("rounds", GetParam());
  Outcome done = pre_dump(workload.root(), "first");
  ASSERT_TRUE(done.ok()) << done.words();
  let_change(workload, 1);
  let_change(workload, 2);
  done = dump(workload.root(), images_ / "last");
  ASSERT_TRUE(done.ok()) << done.words();
  EXPECT_EQ(page_counts(images_ / "last").in_parent, 0U);
  std::filesystem::remove_all(images_ / "first");
  restore_and_pass(workload, "last");
}

/// Dumps that leave the tree running build on each other.
TEST_P(PreDumpRounds, CanBeWholeCheckpoints) {
  Workload workload("rounds", GetParam());
  Outcome done = dump(workload.root(), images_ / "first", {"--leave-running", "--track"});
  ASSERT_TRUE(done.ok()) << done.words();
  let_change(workload, 1);
  done = dump(workload.root(), images_ / "second", on("first", {"--leave-running", "--track"}));
  ASSERT_TRUE(done.ok()) << done.words();
  EXPECT_GT(page_counts(images_ / "second").in_parent, 1000U);
  let_change(workload, 2);
  done = dump(workload.root(), images_ / "last", on("second"));
  ASSERT_TRUE(done.ok()) << done.words();
  EXPECT_GT(page_counts(images_ / "last").in_parent, 1000U);
  restore_and_pass(workload, "last");
}

INSTANTIATE_TEST_SUITE_P(As, PreDumpRounds, testing::Values(0, kOtherUser),
                         [](const testing::TestParamInfo<uid_t>& one) {
                           return std::string(one.param == 0 ? "root" : "user");
                         });

}  // namespace

}  // namespace godwit::e2e
