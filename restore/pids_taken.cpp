#include "restore/pids_taken.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <string>
#include <vector>

#include "kernel/cancel.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

/// How long all processes together that have ended may take until their pids are free.
constexpr uint64_t kReapLimitNs = 2'000'000'000;
/// How long they may take to end: the kernel frees a large memory piece by piece.
constexpr uint64_t kEndLimitNs = 60'000'000'000;

/// Who has this pid, as far as it can be told.
struct PidHolder {
  enum class State {
    Lives,
    Ends,     // it has been killed, or is on its way out
    Ended,    // but `parent` hasn't waited for it
    Nowhere,  // no process has it
  } state = State::Nowhere;
  std::string name;
  pid_t parent = 0;
};

bool is_ending(pid_t pid, pid_t tid) {
  if ((procfs::read_stat(pid, tid).flags & procfs::kExiting) != 0) {
    return true;
  }
  const procfs::Status status = procfs::read_status(pid, tid);
  return ((status.pending | status.shared_pending) >> (SIGKILL - 1) & 1) != 0;
}

PidHolder holder_of(pid_t pid) {
  PidHolder holder;
  try {
    const procfs::Stat stat = procfs::read_stat(pid);
    holder.name = stat.comm;
    holder.parent = stat.parent;
    if (stat.state == 'Z' && stat.threads <= 1) {
      holder.state = PidHolder::State::Ended;
    } else {
      const std::vector<pid_t> threads = procfs::read_threads(pid);
      const bool ends =
          std::all_of(threads.begin(), threads.end(), [pid](pid_t tid) { return is_ending(pid, tid); });
      holder.state = ends ? PidHolder::State::Ends : PidHolder::State::Lives;
    }
  } catch (const Error&) {
    // It has just gone, or was only the number of a group.
    holder.state = PidHolder::State::Nowhere;
  }
  return holder;
}

Error taken(pid_t pid, const PidHolder& holder) {
  const std::string text = fmt::format("task {}: its pid is taken by ", pid);
  switch (holder.state) {
    case PidHolder::State::Nowhere:
      return Error(text + "a process group or session", EEXIST, "end that first");
    case PidHolder::State::Lives:
      return Error(text + holder.name, EEXIST, "end that first");
    case PidHolder::State::Ends:
      return Error(text + holder.name + ", which is ending", EEXIST, "try again when it has");
    case PidHolder::State::Ended:
      break;
  }
  return Error(fmt::format("{}{}, which has ended, but process {} hasn't waited for it", text, holder.name,
                           holder.parent),
               EEXIST, "try again when it has");
}

/// A process that has ended, such as one that a dump has ended a moment ago, is given some time from
/// `start_ns` on to be reaped by its parent. When that has begun nobody has the number any more, but it is
/// taken until the kernel has forgotten what /proc showed of its descriptors, which can take milliseconds.
void check_pid_is_free(pid_t pid, uint64_t start_ns) {
  bool seen_alive = false;
  while (!is_free(pid)) {
    const PidHolder holder = holder_of(pid);
    // Between its SIGKILL and its end there is an instant that shows nothing.
    const bool lives = holder.state == PidHolder::State::Lives;
    const uint64_t limit = holder.state == PidHolder::State::Ends ? kEndLimitNs : kReapLimitNs;
    if ((lives && seen_alive) || monotonic_ns() - start_ns > limit) {
      throw taken(pid, holder);
    }
    check_cancelled();
    const timespec pause{0, lives ? 10'000'000 : 1'000'000};
    ::nanosleep(&pause, nullptr);
    seen_alive = lives;
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
  const uint64_t start = monotonic_ns();
  for (const PlannedNode& node : plan.nodes) {
    check_pid_is_free(node.pid, start);
    for (int i = 1; node.task != nullptr && i < node.task->threads_size(); ++i) {
      check_pid_is_free(node.task->threads(i).tid(0), start);
    }
  }
}

}  // namespace godwit
