#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "kernel/error.h"
#include "kernel/log.h"
#include "restore/state.h"

namespace godwit {

namespace {

// sched_setattr(2); glibc 2.36 has no wrapper.
struct Attributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
  uint32_t util_min;
  uint32_t util_max;
};
constexpr int kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS

/// Hints to the scheduler: where the kernel lacks them (CONFIG_UCLAMP_TASK) the thread does as well without.
void set_utilization_clamps(pid_t tid, const image::Scheduling& s) {
  constexpr uint64_t kKeepAll = 0x18;  // SCHED_FLAG_KEEP_POLICY | KEEP_PARAMS
  constexpr uint64_t kClamps = 0x60;   // SCHED_FLAG_UTIL_CLAMP_MIN | UTIL_CLAMP_MAX
  Attributes wanted{};
  wanted.size = sizeof wanted;
  wanted.flags = kKeepAll | kClamps;
  wanted.util_min = s.util_min();
  wanted.util_max = s.util_max();
  if (::syscall(SYS_sched_setattr, tid, &wanted, 0) != 0) {
    log::warning("thread {}: its utilization clamps {} to {} can't be set: {}", tid, s.util_min(),
                 s.util_max(), std::strerror(errno));
  }
}

}  // namespace

image::Scheduling read_scheduling(pid_t tid) {
  image::Scheduling s;
  Attributes attributes{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) != 0) {
    throw errno_error("cannot read the scheduling of thread {}", tid);
  }
  s.set_policy(attributes.policy);
  s.set_flags(attributes.flags);
  s.set_nice(attributes.nice);
  s.set_priority(attributes.priority);
  s.set_runtime_ns(attributes.runtime);
  s.set_deadline_ns(attributes.deadline);
  s.set_period_ns(attributes.period);
  s.set_util_min(attributes.util_min);
  s.set_util_max(attributes.util_max);
  std::string mask(1024, '\0');
  const long bytes = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (bytes < 0) {
    throw errno_error("cannot read the affinity of thread {}", tid);
  }
  mask.resize(static_cast<size_t>(bytes));
  s.set_affinity(mask);
  const long io = ::syscall(SYS_ioprio_get, kIoPriorityOfProcess, tid);
  s.set_io_priority(io < 0 ? 0 : static_cast<uint32_t>(io));
  return s;
}

void apply_scheduling(pid_t tid, const image::Scheduling& s, const Baseline& baseline) {
  const image::Scheduling& have = baseline.scheduling;
  // Outside SCHED_DEADLINE the runtime is a slice that the kernel chooses.
  if (s.policy() != have.policy() || s.nice() != have.nice() || s.priority() != have.priority() ||
      s.flags() != have.flags() || s.policy() == SCHED_DEADLINE) {
    Attributes wanted{};
    wanted.size = offsetof(Attributes, util_min);
    wanted.policy = s.policy();
    wanted.flags = s.flags() & 7;  // RESET_ON_FORK, RECLAIM, DL_OVERRUN: what isn't about how to set it
    wanted.nice = s.nice();
    wanted.priority = s.priority();
    wanted.runtime = s.runtime_ns();
    wanted.deadline = s.deadline_ns();
    wanted.period = s.period_ns();
    if (::syscall(SYS_sched_setattr, tid, &wanted, 0) != 0) {
      throw errno_error("thread {}: cannot set its scheduling policy", tid);
    }
  }
  if (s.util_min() != have.util_min() || s.util_max() != have.util_max()) {
    set_utilization_clamps(tid, s);
  }
  if (s.affinity() != have.affinity() && !s.affinity().empty() &&
      ::syscall(SYS_sched_setaffinity, tid, s.affinity().size(), s.affinity().data()) != 0) {
    throw errno_error("thread {}: cannot set its CPU affinity", tid);
  }
  if (s.io_priority() != have.io_priority() &&
      ::syscall(SYS_ioprio_set, kIoPriorityOfProcess, tid, s.io_priority()) != 0) {
    throw errno_error("thread {}: cannot set its I/O priority", tid);
  }
}

}  // namespace godwit
