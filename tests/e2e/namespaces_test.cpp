// Trees that have namespaces of their own.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

struct Case {
  const char* name;
  const char* workload;
  unsigned long namespaces;
  int rounds;
};

std::ostream& operator<<(std::ostream& out, const Case& how) {
  return out << how.name << ", " << how.rounds << " times";
}

class Namespaces : public testing::TestWithParam<Case> {
 protected:
  Reaper reaper_;
};

TEST_P(Namespaces, AreAsBefore) {
  const Case& how = GetParam();
  LaunchOptions options;
  options.namespaces = how.namespaces;
  Workload workload(how.workload, 0, {}, options);
  for (int round = 0; round < how.rounds; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round + 1));
    dump_and_restore(workload.root());
    if (HasFatalFailure()) {
      return;
    }
  }
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_TRUE(descendants().empty()) << "tasks of the workload outlive it";
}

std::vector<Case> cases() {
  constexpr unsigned long kContainer =
      CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWCGROUP;
  std::vector<Case> all;
  for (const int rounds : {1, 2}) {
    all.push_back({"Pid", "pid_namespace", CLONE_NEWPID, rounds});
    all.push_back({"PidInContainer", "pid_namespace", kContainer, rounds});
    all.push_back({"UtsIpcNet", "own_namespaces", CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET, rounds});
    all.push_back({"Container", "own_namespaces", kContainer, rounds});
    all.push_back({"Mounts", "mounts", CLONE_NEWPID | CLONE_NEWNS, rounds});
    all.push_back({"MountsInContainer", "mounts", kContainer, rounds});
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& of) {
  return std::string(of.param.name) + (of.param.rounds == 1 ? "_once" : "_twice");
}

/// Takes a pid. The reaper ends it.
void occupy(pid_t pid) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(&pid);
  arguments.set_tid_size = 1;
  const long made = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (made == 0) {
    for (;;) {
      pause();
    }
  }
  ASSERT_EQ(made, pid) << strerror(errno);
}

/// Of a tree in a pid namespace of its own nobody inside sees which numbers it has outside.
TEST(PidNamespace, HasOtherPidsOutsideWhereTheOldAreTaken) {
  const Reaper reaper;
  for (const char* name : {"own_namespaces", "pid_namespace"}) {
    SCOPED_TRACE(name);
    LaunchOptions options;
    options.namespaces = CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
    Workload workload(name, 0, {}, options);
    const std::vector<pid_t> before = tree_of(workload.root());
    const TemporaryDirectory images;
    const Outcome dumped = dump(workload.root(), images / "1");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    for (const pid_t pid : before) {
      occupy(pid);
    }
    const Restored restored = restore(images / "1");
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    workload.set_root(restored.root);
    EXPECT_EQ(tree_of(restored.root).size(), before.size());
    EXPECT_EQ(workload.verdict(), "pass");
  }
}

/// The descriptor keeps the namespace while nobody is in it.
TEST(ExternalNamespace, IsHandedOver) {
  const Reaper reaper;
  LaunchOptions options;
  options.namespaces = CLONE_NEWUTS | CLONE_NEWNET;
  Workload workload("own_namespaces", 0, {}, options);
  const std::string link = fmt::format("/proc/{}/ns/net", workload.root());
  const std::string name = read_link(link);
  const Fd kept = open_file(link, O_RDONLY);
  const std::string external = fmt::format("net[{}]:outer", name.substr(5, name.size() - 6));
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload.root(), images / "1", {"--external", external});
  ASSERT_TRUE(dumped.ok()) << dumped.words();

  const Restored without = restore(images / "1");
  EXPECT_EQ(without.outcome.exit_code, 1);
  EXPECT_NE(without.outcome.output.find("hand one over under the name outer"), std::string::npos)
      << without.outcome.words();
  const Restored wrong = restore(images / "1", {"--external", "outer=/proc/self/ns/uts"});
  EXPECT_NE(wrong.outcome.output.find("isn't a net namespace"), std::string::npos) << wrong.outcome.words();

  const Restored restored =
      restore(images / "1", {"--external", fmt::format("outer=/proc/{}/fd/{}", getpid(), kept.get())});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(read_link(link), name);
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST(RefusedNamespace, IsNamed) {
  const Reaper reaper;
  LaunchOptions options;
  options.in_child = [] {
    if (unshare(CLONE_NEWUSER) != 0) {
      _exit(1);
    }
  };
  Workload workload("heartbeat", 0, {}, options);
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload.root(), images / "1");
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("user namespace"), std::string::npos) << dumped.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

INSTANTIATE_TEST_SUITE_P(Kinds, Namespaces, testing::ValuesIn(cases()), name_of);

}  // namespace

}  // namespace godwit::e2e
