#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace godwit {

/// struct sched_attr of include/uapi/linux/sched/types.h: sched_setattr(2). Times are in ns.
struct SchedulingAttributes {
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
static_assert(sizeof(SchedulingAttributes) == 56);

/// How a thread is scheduled.
struct SchedulingState {
  SchedulingAttributes attributes{};
  std::string affinity;      // the kernel's own mask, as long as that is: sched_getaffinity(2)
  uint32_t io_priority = 0;  // ioprio_get(2)
};

/// Of thread `tid`; 0: the calling one. Throws Error.
[[nodiscard]] SchedulingState read_scheduling_state(pid_t tid);
/// False: errno says why not.
[[nodiscard]] bool set_scheduling_attributes(pid_t tid, const SchedulingAttributes& wanted);
[[nodiscard]] bool set_io_priority(pid_t tid, uint32_t priority);

}  // namespace godwit
