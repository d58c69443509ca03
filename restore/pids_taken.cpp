#include "restore/pids_taken.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <string>

#include "kernel/cancel.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

/// How long all processes together that have ended may take until their pids are free.
constexpr uint64_t kReapLimitNs = 2'000'000'000;

/// Who has this pid, as far as it can be told: a process, or one that has ended but is still waited for.
struct PidHolder {
  std::string name;       // empty: no process has it
  pid_t slow_parent = 0;  // of one that has ended
};

PidHolder holder_of(pid_t pid) {
  PidHolder holder;
  try {
    const procfs::Stat stat = procfs::read_stat(pid);
    holder.name = stat.comm;
    if (stat.state == 'Z' && stat.threads <= 1) {
      holder.slow_parent = stat.parent;
    }
  } catch (const Error&) {
    // It has just gone, or was only the number of a group.
  }
  return holder;
}

/// A process that has ended, such as one that a dump has ended a moment ago, is given until `deadline_ns` to
/// be reaped by its parent. When that has begun nobody has the number any more, but it is taken until the
/// kernel has forgotten what /proc showed of its descriptors, which can take milliseconds.
void check_pid_is_free(pid_t pid, uint64_t deadline_ns) {
  while (!is_free(pid)) {
    const PidHolder holder = holder_of(pid);
    const bool late = monotonic_ns() > deadline_ns;
    if (holder.name.empty() && late) {
      throw Error(fmt::format("task {}: its pid is taken by a process group or session", pid), EEXIST,
                  "end that first");
    }
    if (!holder.name.empty() && holder.slow_parent == 0) {
      throw Error(fmt::format("task {}: its pid is taken by {}", pid, holder.name), EEXIST, "end that first");
    }
    if (!holder.name.empty() && late) {
      throw Error(
          fmt::format("task {}: its pid is taken by {}, which has ended, but process {} hasn't waited "
                      "for it",
                      pid, holder.name, holder.slow_parent),
          EEXIST, "try again when it has");
    }
    check_cancelled();
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace

bool is_free(pid_t pid) {
  if (::kill(pid, 0) == 0 || errno != ESRCH) {
    return false;
  }
  // kill(2) looks for a process; this looks the number itself up.
  const Fd any(::eventfd(0, EFD_CLOEXEC));
  return !any || (::fcntl(any.get(), F_SETOWN, pid) != 0 && errno == ESRCH);
}

void check_pids_are_free(const Plan& plan) {
  if (plan.levels_above_root > 0) {
    return;
  }
  const uint64_t deadline = monotonic_ns() + kReapLimitNs;
  for (const PlannedNode& node : plan.nodes) {
    check_pid_is_free(node.pid, deadline);
    for (int i = 1; node.task != nullptr && i < node.task->threads_size(); ++i) {
      check_pid_is_free(node.task->threads(i).tid(0), deadline);
    }
  }
}

}  // namespace godwit
