#include "tests/e2e/round_trip.h"

#include <span>

namespace godwit::e2e {

namespace {

struct Entry {
  const char* workload;
  Users users = Users::Any;
};

/// One entry a workload.
constexpr Entry kWorkloads[] = {
    {"threads"},
    {"registers"},
    {"signals"},
    {"syscalls"},
    {"blocked_io"},
    {"timers"},
    {"rlimits"},
    {"credentials"},
    {"seccomp"},
    {"scheduling"},
    {"fs"},
    {"process"},
    {"tree", Users::RootOnly},
    {"memory"},
    {"file_mappings"},
    {"cow"},
    {"shm"},
    {"heartbeat"},
    {"regular_file"},
    {"pipe"},
    {"epoll"},
    {"unix_socket"},
    {"inet_socket"},
    {"file_lock"},
};

/// Workloads whose round trip doesn't succeed yet: tried with --gtest_also_run_disabled_tests.
constexpr Entry kPending[] = {
    {"tree"},
};

std::vector<RoundTripCase> cases(std::span<const Entry> entries, bool once_only) {
  std::vector<RoundTripCase> all;
  for (const Entry& entry : entries) {
    for (const RoundTripCase& way : every_way(entry.workload, entry.users)) {
      if (!once_only || way.rounds == 1) {
        all.push_back(way);
      }
    }
  }
  return all;
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Workloads, ByItself, testing::ValuesIn(cases(kWorkloads, true)), case_name);
INSTANTIATE_TEST_SUITE_P(Workloads, RoundTrip, testing::ValuesIn(cases(kWorkloads, false)), case_name);
INSTANTIATE_TEST_SUITE_P(DISABLED_PendingWorkloads, RoundTrip, testing::ValuesIn(cases(kPending, false)),
                         case_name);

}  // namespace godwit::e2e
