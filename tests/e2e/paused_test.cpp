// Trees that are paused by a cgroup, as container runtimes do it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "kernel/error.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {
namespace {

struct Version {
  const char* name;
  const char* hierarchy;
  const char* file;
  const char* paused;
  const char* resumed;
};

std::ostream& operator<<(std::ostream& out, const Version& version) {
  return out << version.name;
}

class Paused : public testing::TestWithParam<Version> {
 protected:
  void SetUp() override {
    struct stat status {};
    if (::stat((std::string("/sys/fs/cgroup/") + GetParam().hierarchy).c_str(), &status) != 0) {
      GTEST_SKIP() << "this machine has no cgroups at /sys/fs/cgroup/" << GetParam().hierarchy;
    }
    ASSERT_EQ(::mkdir(outer_.c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(inner_.c_str(), 0755), 0);
  }
  void TearDown() override {
    write(GetParam().resumed);
    for (const pid_t pid : descendants()) {
      ::kill(pid, SIGKILL);
    }
    EXPECT_TRUE(wait_until([&] { return try_read(inner_ + "/cgroup.procs").value_or("").empty(); }, 10));
    remove_cgroups(name_);
  }

  void write(const char* value) const { std::ofstream(outer_ + "/" + GetParam().file) << value; }
  [[nodiscard]] std::string state() const {
    const std::string text = try_read(outer_ + "/" + GetParam().file).value_or("");
    return text.substr(0, text.find('\n'));
  }
  void put_in(pid_t pid) const { std::ofstream(inner_ + "/cgroup.procs") << pid; }
  void pause_tree(pid_t root) {
    for (const pid_t pid : tree_of(root)) {
      put_in(pid);
    }
    write(GetParam().paused);
    ASSERT_TRUE(wait_until([&] { return state() == GetParam().paused; }, 10));
  }

  const std::string name_ = "godwit-test-" + std::to_string(::getpid());
  const std::string outer_ = std::string("/sys/fs/cgroup/") + GetParam().hierarchy + "/" + name_;
  const std::string inner_ = outer_ + "/inner";
  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_P(Paused, StaysPausedWhenItIsLeft) {
  for (const char* name : {"heartbeat", "tree"}) {
    SCOPED_TRACE(name);
    Workload workload(name, 0);
    ASSERT_NO_FATAL_FAILURE(pause_tree(workload.root()));
    for (const char* image : {"first", "second"}) {
      const Outcome dumped =
          dump(workload.root(), images_ / (std::string(name) + image), {"--leave-running"});
      ASSERT_TRUE(dumped.ok()) << dumped.words();
      EXPECT_EQ(state(), GetParam().paused);
    }
    write(GetParam().resumed);
    EXPECT_EQ(workload.verdict(), "pass");
  }
}

TEST_P(Paused, IsRestored) {
  Workload workload("tree", 0);
  ASSERT_NO_FATAL_FAILURE(pause_tree(workload.root()));
  const Outcome dumped = dump(workload.root(), images_ / "image");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  EXPECT_EQ(state(), GetParam().resumed) << "nobody is left to be paused";
  const Restored restored = restore(images_ / "image");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// In version 1 it doesn't come to a stop, and is refused for that, after a while.
TEST_P(Paused, InPartIsRefused) {
  if (GetParam().file != std::string("cgroup.freeze")) {
    GTEST_SKIP() << "of cgroups v2 only";
  }
  Workload workload("tree", 0);
  const std::vector<pid_t> tree = tree_of(workload.root());
  ASSERT_GT(tree.size(), 1U);
  put_in(tree.back());
  std::ofstream(inner_ + "/cgroup.freeze") << 1;
  const Outcome dumped = dump(workload.root(), images_ / "image", {"--leave-running"});
  std::ofstream(inner_ + "/cgroup.freeze") << 0;
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("in a paused cgroup"), std::string::npos) << dumped.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_P(Paused, WithAStrangerIsRefused) {
  Workload workload("heartbeat", 0);
  const pid_t stranger = launch({"/bin/sleep", "1000"});
  put_in(stranger);
  ASSERT_NO_FATAL_FAILURE(pause_tree(workload.root()));
  const Outcome dumped = dump(workload.root(), images_ / "image", {"--leave-running"});
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("process " + std::to_string(stranger)), std::string::npos) << dumped.words();
  EXPECT_EQ(state(), GetParam().paused);
  write(GetParam().resumed);
  EXPECT_EQ(workload.verdict(), "pass");
}

INSTANTIATE_TEST_SUITE_P(Cgroups, Paused,
                         testing::Values(Version{"v1", "freezer", "freezer.state", "FROZEN", "THAWED"},
                                         Version{"v2", "unified", "cgroup.freeze", "1", "0"}),
                         [](const testing::TestParamInfo<Version>& one) { return one.param.name; });

}  // namespace
}  // namespace godwit::e2e
