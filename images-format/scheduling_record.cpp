#include "images-format/scheduling_record.h"

#include <linux/sched.h>

namespace godwit {

void describe_scheduling(const SchedulingState& state, image::Scheduling& record) {
  const SchedulingAttributes& attributes = state.attributes;
  record.set_policy(attributes.policy);
  record.set_flags(attributes.flags);
  record.set_nice(attributes.nice);
  record.set_priority(attributes.priority);
  // Outside SCHED_DEADLINE the runtime is a slice that the kernel chooses.
  if (attributes.policy == SCHED_DEADLINE) {
    record.set_runtime_ns(attributes.runtime);
    record.set_deadline_ns(attributes.deadline);
    record.set_period_ns(attributes.period);
  }
  record.set_util_min(attributes.util_min);
  record.set_util_max(attributes.util_max);
  record.set_affinity(state.affinity);
  record.set_io_priority(state.io_priority);
}

}  // namespace godwit
