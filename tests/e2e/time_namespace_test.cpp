// Trees whose clocks aren't the machine's: in a time namespace of their own, or restored under another boot.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <unistd.h>

#include <cstring>
#include <ctime>

#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr ClockOffsets kFarAway{123'456'789 * kSecond + 987'654'321, 234'567'890 * kSecond + 1};

/// In the child that is about to become a workload: it will be in a new time namespace.
void enter_far_away() {
  const std::string text = clock_offsets_text(kFarAway);
  const int file = unshare(CLONE_NEWTIME) == 0 ? open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC) : -1;
  if (file < 0 || write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    _exit(1);
  }
  const int made = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
  if (setns(made, CLONE_NEWTIME) != 0) {
    _exit(1);
  }
}

struct Case {
  uid_t uid;
  unsigned long namespaces;
  int rounds;
};

std::ostream& operator<<(std::ostream& out, const Case& how) {
  return out << "uid " << how.uid << ", namespaces " << how.namespaces << ", " << how.rounds << " times";
}

std::string time_namespace_of(pid_t pid) {
  return read_link(fmt::format("/proc/{}/ns/time", pid));
}

class TimeNamespace : public testing::TestWithParam<Case> {
 protected:
  Reaper reaper_;
};

/// From the freeze to the restore the tree's clocks stand still: by so much they fall behind the machine's.
TEST_P(TimeNamespace, GoesOnFromWhereItWas) {
  const Case& how = GetParam();
  LaunchOptions options;
  options.namespaces = how.namespaces;
  options.in_child = enter_far_away;
  Workload workload("clocks", how.uid, {}, options);
  ASSERT_NE(time_namespace_of(workload.root()), time_namespace_of(getpid()));
  ClockOffsets before = read_clock_offsets(workload.root());
  ASSERT_EQ(before.monotonic_ns, kFarAway.monotonic_ns);
  for (int round = 0; round < how.rounds; ++round) {
    const TemporaryDirectory images;
    const Snapshot was = observe_at_rest(workload.root());
    const auto before_dump = static_cast<int64_t>(monotonic_ns());
    const Outcome dumped = dump(workload.root(), images / "1");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const auto after_dump = static_cast<int64_t>(monotonic_ns());
    usleep(100'000);
    const auto before_restore = static_cast<int64_t>(monotonic_ns());
    const Restored restored = restore(images / "1");
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    const auto after_restore = static_cast<int64_t>(monotonic_ns());
    workload.set_root(restored.root);
    EXPECT_EQ(joined(compare_now(was, restored.root)), "");
    const ClockOffsets after = read_clock_offsets(restored.root);
    for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
      const int64_t stood_still = before.of(clock) - after.of(clock);
      EXPECT_GE(stood_still, before_restore - after_dump) << "clock " << clock;
      EXPECT_LE(stood_still, after_restore - before_dump) << "clock " << clock;
    }
    for (const pid_t pid : tree_of(restored.root)) {
      EXPECT_EQ(time_namespace_of(pid), time_namespace_of(restored.root));
      EXPECT_EQ(read_link(fmt::format("/proc/{}/ns/time_for_children", pid)), time_namespace_of(pid));
    }
    before = after;
  }
  EXPECT_NE(time_namespace_of(workload.root()), time_namespace_of(getpid()));
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_TRUE(descendants().empty()) << "tasks of the workload outlive it";
}

std::vector<Case> cases() {
  constexpr unsigned long kContainer =
      CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWCGROUP;
  std::vector<Case> all;
  for (const int rounds : {1, 2}) {
    all.push_back({0, 0, rounds});
    all.push_back({kOtherUser, 0, rounds});
    all.push_back({0, kContainer, rounds});
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& of) {
  return fmt::format("{}_{}_{}", of.param.uid == 0 ? "Root" : "Other",
                     of.param.namespaces == 0 ? "Alone" : "InContainer",
                     of.param.rounds == 1 ? "once" : "twice");
}

INSTANTIATE_TEST_SUITE_P(Ways, TimeNamespace, testing::ValuesIn(cases()), name_of);

/// `godwit restore` where the machine's boot id is another one.
Restored restore_under_another_boot(const std::string& images, const std::string& environment) {
  const TemporaryDirectory place;
  const std::string pid_file = place / "pid";
  Restored restored;
  restored.outcome =
      run({"/usr/bin/unshare", "--mount", "/bin/sh", "-ec",
           "echo 00000000-1111-2222-3333-444444444444 >\"$1\"/boot; "
           "mount --bind \"$1\"/boot /proc/sys/kernel/random/boot_id; "
           "exec env $2 \"$3\" restore -D \"$4\" --detach --pidfile \"$1\"/pid",
           "sh", place.path(), environment.empty() ? "X=" : environment, GODWIT_BINARY, images});
  if (restored.outcome.ok()) {
    restored.root = std::stoi(read_file(pid_file));
  }
  return restored;
}

class AnotherBoot : public testing::TestWithParam<const char*> {
 protected:
  Reaper reaper_;
};

TEST_P(AnotherBoot, LetsClocksGoOn) {
  for (const uid_t uid : {uid_t{0}, kOtherUser}) {
    SCOPED_TRACE(uid);
    Workload workload(GetParam(), uid);
    const TemporaryDirectory images;
    const auto before_dump = static_cast<int64_t>(monotonic_ns());
    const Outcome dumped = dump(workload.root(), images / "1");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const auto after_dump = static_cast<int64_t>(monotonic_ns());
    usleep(100'000);
    const auto before_restore = static_cast<int64_t>(monotonic_ns());
    const Restored restored = restore_under_another_boot(images / "1", "");
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    const auto after_restore = static_cast<int64_t>(monotonic_ns());
    workload.set_root(restored.root);
    EXPECT_NE(time_namespace_of(restored.root), time_namespace_of(getpid()));
    const int64_t stood_still = -read_clock_offsets(restored.root).monotonic_ns;
    EXPECT_GE(stood_still, before_restore - after_dump);
    EXPECT_LE(stood_still, after_restore - before_dump);
    EXPECT_EQ(workload.verdict(), "pass");
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, AnotherBoot, testing::Values("clocks", "timers", "timerfd", "threads"),
                         [](const auto& of) { return std::string(of.param); });

TEST(AnotherBoot, IsWarnedOfWithoutTimeNamespaces) {
  const Reaper reaper;
  Workload workload("timers", 0);
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload.root(), images / "1");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored restored = restore_under_another_boot(images / "1", "GODWIT_HIDE_FEATURES=time_namespace");
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_NE(restored.outcome.output.find("monotonic clocks jump"), std::string::npos)
      << restored.outcome.words();
  workload.set_root(restored.root);
  EXPECT_EQ(time_namespace_of(restored.root), time_namespace_of(getpid()));
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
