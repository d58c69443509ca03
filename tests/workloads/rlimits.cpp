// Every resource limit, soft and hard, at a value of its own.
#include <sys/resource.h>

#include "tests/workloads/workload.h"

namespace {

constexpr int kLimits = 16;

/// Nothing that would hinder the program: what is unlimited gets a large number.
rlim_t soft_of(int resource, rlim_t hard) {
  const rlim_t wanted = resource == RLIMIT_NOFILE  ? 77
                        : resource == RLIMIT_STACK ? 6 << 20
                        : resource == RLIMIT_NPROC
                            ? 5000
                            : (static_cast<rlim_t>(1) << 40) + static_cast<rlim_t>(resource) * 4096;
  return wanted < hard ? wanted : hard;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  rlimit wanted[kLimits];
  for (int resource = 0; resource < kLimits; ++resource) {
    rlimit& limit = wanted[resource];
    workload::must(getrlimit(static_cast<__rlimit_resource>(resource), &limit), "getrlimit");
    limit.rlim_cur = soft_of(resource, limit.rlim_max);
    // Every other hard limit is lowered, too.
    if (resource % 2 == 0 && limit.rlim_max > limit.rlim_cur) {
      limit.rlim_max = limit.rlim_max == RLIM_INFINITY ? limit.rlim_cur * 2 : limit.rlim_max - 1;
    }
    if (limit.rlim_cur > limit.rlim_max) {
      limit.rlim_cur = limit.rlim_max;
    }
    workload::must(setrlimit(static_cast<__rlimit_resource>(resource), &limit), "setrlimit");
  }
  workload::say_ready();
  workload::wait_to_go_on();
  for (int resource = 0; resource < kLimits; ++resource) {
    rlimit found{};
    getrlimit(static_cast<__rlimit_resource>(resource), &found);
    if (found.rlim_cur != wanted[resource].rlim_cur || found.rlim_max != wanted[resource].rlim_max) {
      workload::fail("limit %d is %llu %llu", resource, static_cast<unsigned long long>(found.rlim_cur),
                     static_cast<unsigned long long>(found.rlim_max));
    }
  }
  workload::finish();
}
