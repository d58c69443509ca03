// Trees that have namespaces of their own.
#include <sched.h>

#include "kernel/error.h"
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
  }
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& of) {
  return std::string(of.param.name) + (of.param.rounds == 1 ? "_once" : "_twice");
}

INSTANTIATE_TEST_SUITE_P(Kinds, Namespaces, testing::ValuesIn(cases()), name_of);

}  // namespace

}  // namespace godwit::e2e
