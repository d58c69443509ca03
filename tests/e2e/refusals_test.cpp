// What can't be dumped is refused by name: task and thing in one line, exit code 1, nothing left on disk, and
// the tree runs on as it was.
#include <unistd.h>

#include <algorithm>

#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

struct Refused {
  const char* thing;  // as tests/workloads/unsupported.cpp calls it
  const char* says;   // in the message
};

constexpr Refused kRefused[] = {
    {"io_uring", "io_uring"},
    {"io_uring mapping", "io_uring"},
    {"userfaultfd", "userfaultfd"},
    {"aio", "AIO ring"},
    {"hugetlb", "hugetlb"},
    {"secret memory", "secretmem"},
    {"secret mapping", "memfd_secret"},
    {"system v", "System V shared memory"},
    {"guard pages", "guard pages"},
    {"droppable", "MAP_DROPPABLE"},
    {"perf", "perf_event"},
    {"perf mapping", "mapping"},
    {"bpf", "bpf-map"},
    {"tcp", "TCP connection"},
    {"netlink", "netlink socket"},
    {"packet", "packet socket"},
    {"raw", "internet socket of type 3"},
    {"alg", "AF_ALG"},
    {"inotify events", "with events that nobody has read"},
    {"fanotify", "fanotify"},
    {"pidfd", "pid"},
    {"namespace", "net:["},
    {"proc file", "/status"},
    {"terminal", "/dev/"},
    {"tun", "/dev/net/tun"},
    {"fuse", "/dev/fuse"},
    {"fsopen", "fscontext"},
    {"detached mount", "descriptor"},
    {"landlock", "landlock-ruleset"},
    {"lease", "LEASE"},
    {"user namespace", "in another user namespace"},
    {"mount namespace", "in another mnt namespace"},
    {"uts namespace", "in another uts namespace"},
    {"ipc namespace", "in another ipc namespace"},
    {"pid namespace", "in another pid_for_children namespace"},
    {"net namespace", "in another net namespace"},
    {"cgroup namespace", "in another cgroup namespace"},
    {"time namespace", "in another time_for_children namespace"},
    {"same memory", "memory shared with task"},
    {"dead leader", "a leader that has ended before its threads"},
    {"dead leader of a child", "a leader that has ended before its threads"},
    {"own table", "descriptor table of its own"},
    {"own working directory", "working directory of its own"},
    {"table over a generation", "whose descriptor table"},
    {"directory over a generation", "whose working directory"},
    {"table of an adopter", "whose descriptor table"},
    {"orphan beside its session", "an orphan of session"},
    {"zombie that stops its parent", "a zombie that tells its end by signal 19"},
};

std::ostream& operator<<(std::ostream& out, const Refused& refused) {
  return out << refused.thing;
}

class Refusals : public testing::TestWithParam<Refused> {
 protected:
  [[nodiscard]] static bool names_a_task(const std::string& line, const std::vector<pid_t>& tree) {
    return std::any_of(tree.begin(), tree.end(), [&](pid_t pid) {
      return line.find("task " + std::to_string(pid)) != std::string::npos;
    });
  }

  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_P(Refusals, NameTaskAndThing) {
  Workload workload("unsupported", 0, {GetParam().thing});
  if (access((workload.directory() / "unavailable").c_str(), F_OK) == 0) {
    GTEST_SKIP() << "this machine can't make it: " << GetParam().thing;
  }
  const std::vector<pid_t> tree = tree_of(workload.root());
  const Snapshot before = observe_at_rest(workload.root());
  const Outcome outcome =
      godwit({"dump", "-t", std::to_string(workload.root()), "-D", images_ / "checkpoint"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_EQ(lines_of(outcome.output).size(), 1U) << outcome.output;
  EXPECT_NE(outcome.output.find(GetParam().says), std::string::npos) << outcome.output;
  EXPECT_TRUE(names_a_task(outcome.output, tree)) << outcome.output;
  EXPECT_TRUE(run({"/usr/bin/find", images_.path(), "-mindepth", "1"}).output.empty());
  const std::vector<std::string> differences = compare_now(before, workload.root());
  EXPECT_TRUE(differences.empty()) << joined(differences);
  EXPECT_EQ(workload.verdict(), "pass");
}

std::string name_of(const testing::TestParamInfo<Refused>& info) {
  std::string name = info.param.thing;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(OneByOne, Refusals, testing::ValuesIn(kRefused), name_of);

}  // namespace

}  // namespace godwit::e2e
