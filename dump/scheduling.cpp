#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "dump/collectors.h"
#include "kernel/error.h"

namespace godwit {

namespace {

// struct sched_attr, include/uapi/linux/sched/types.h.
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
static_assert(sizeof(Attributes) == 56);
constexpr int kWhoProcess = 1;  // IOPRIO_WHO_PROCESS
constexpr size_t kMostCpus = 8192;

}  // namespace

void collect_scheduling(pid_t tid, image::Scheduling& record) {
  Attributes attributes{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof(attributes), 0) != 0) {
    throw errno_error("cannot read the scheduling policy");
  }
  record.set_policy(attributes.policy);
  record.set_flags(attributes.flags);
  record.set_nice(attributes.nice);
  record.set_priority(attributes.priority);
  if (attributes.policy == SCHED_DEADLINE) {
    record.set_runtime_ns(attributes.runtime);
    record.set_deadline_ns(attributes.deadline);
    record.set_period_ns(attributes.period);
  }
  record.set_util_min(attributes.util_min);
  record.set_util_max(attributes.util_max);

  // The raw call tells the size of the kernel's own mask.
  std::array<char, kMostCpus / 8> mask;
  const long bytes = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (bytes < 0) {
    throw errno_error("cannot read the CPU affinity");
  }
  record.set_affinity(mask.data(), static_cast<size_t>(bytes));

  const long io_priority = ::syscall(SYS_ioprio_get, kWhoProcess, tid);
  if (io_priority < 0) {
    throw errno_error("cannot read the I/O priority");
  }
  record.set_io_priority(static_cast<uint32_t>(io_priority));
}

void ask_timer_slack(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const OpIndex slack = script.call("read the timer slack", SYS_prctl, {PR_GET_TIMERSLACK, 0, 0, 0, 0});
  answers.emplace_back([slack, &record](const ScriptBuilder& ran) {
    record.mutable_scheduling()->set_timer_slack_ns(static_cast<uint64_t>(ran.result(slack)));
  });
}

}  // namespace godwit
