#include "tests/e2e/round_trip.h"

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
    {"tree"},
    {"memory"},
    {"file_mappings"},
    {"cow"},
    {"shm"},
    {"heartbeat"},
    {"regular_file"},
    {"pipe"},
    {"epoll"},
    {"unix_socket"},
    {"unix_connection"},
    {"unix_in_flight"},
    {"inet_socket"},
    {"file_lock"},
    {"eventfd"},
    {"timerfd"},
    {"signalfd"},
    {"inotify"},
    {"signal_owner"},
    {"memfd"},
    {"shared_table"},
    {"many_descriptors"},
    {"rseq"},
    {"locked_memory"},
    {"robust_mutex"},
    {"many_threads"},
};

std::vector<RoundTripCase> cases(bool once_only) {
  std::vector<RoundTripCase> all;
  for (const Entry& entry : kWorkloads) {
    for (const RoundTripCase& way : every_way(entry.workload, entry.users)) {
      if (!once_only || way.rounds == 1) {
        all.push_back(way);
      }
    }
  }
  return all;
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Workloads, ByItself, testing::ValuesIn(cases(true)), case_name);
INSTANTIATE_TEST_SUITE_P(Workloads, RoundTrip, testing::ValuesIn(cases(false)), case_name);

}  // namespace godwit::e2e
