#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "images-format/scheduling_record.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "restore/state.h"

namespace godwit {

namespace {

/// Hints to the scheduler: where the kernel lacks them (CONFIG_UCLAMP_TASK) the thread does as well without.
void set_utilization_clamps(pid_t tid, const image::Scheduling& s) {
  constexpr uint64_t kKeepAll = 0x18;  // SCHED_FLAG_KEEP_POLICY | KEEP_PARAMS
  constexpr uint64_t kClamps = 0x60;   // SCHED_FLAG_UTIL_CLAMP_MIN | UTIL_CLAMP_MAX
  SchedulingAttributes wanted{};
  wanted.size = sizeof wanted;
  wanted.flags = kKeepAll | kClamps;
  wanted.util_min = s.util_min();
  wanted.util_max = s.util_max();
  if (!set_scheduling_attributes(tid, wanted)) {
    log::warning("thread {}: its utilization clamps {} to {} can't be set: {}", tid, s.util_min(),
                 s.util_max(), std::strerror(errno));
  }
}

}  // namespace

image::Scheduling read_scheduling(pid_t tid) {
  image::Scheduling s;
  describe_scheduling(read_scheduling_state(tid), s);
  return s;
}

void apply_scheduling(pid_t tid, const image::Scheduling& s, const Baseline& baseline) {
  const image::Scheduling& have = baseline.scheduling;
  if (s.policy() != have.policy() || s.nice() != have.nice() || s.priority() != have.priority() ||
      s.flags() != have.flags() || s.policy() == SCHED_DEADLINE) {
    SchedulingAttributes wanted{};
    wanted.size = offsetof(SchedulingAttributes, util_min);
    wanted.policy = s.policy();
    wanted.flags = s.flags() & 7;  // RESET_ON_FORK, RECLAIM, DL_OVERRUN: what isn't about how to set it
    wanted.nice = s.nice();
    wanted.priority = s.priority();
    wanted.runtime = s.runtime_ns();
    wanted.deadline = s.deadline_ns();
    wanted.period = s.period_ns();
    if (!set_scheduling_attributes(tid, wanted)) {
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
  if (s.io_priority() != have.io_priority() && !set_io_priority(tid, s.io_priority())) {
    throw errno_error("thread {}: cannot set its I/O priority", tid);
  }
}

}  // namespace godwit
