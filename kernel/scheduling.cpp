#include "kernel/scheduling.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr int kWhoProcess = 1;  // IOPRIO_WHO_PROCESS
constexpr size_t kMostCpus = 8192;

}  // namespace

SchedulingState read_scheduling_state(pid_t tid) {
  SchedulingState state;
  if (::syscall(SYS_sched_getattr, tid, &state.attributes, sizeof state.attributes, 0) != 0) {
    throw errno_error("cannot read the scheduling policy of thread {}", tid);
  }
  // The raw call tells the size of the kernel's own mask.
  std::array<char, kMostCpus / 8> mask;
  const long bytes = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (bytes < 0) {
    throw errno_error("cannot read the CPU affinity of thread {}", tid);
  }
  state.affinity.assign(mask.data(), static_cast<size_t>(bytes));
  const long io_priority = ::syscall(SYS_ioprio_get, kWhoProcess, tid);
  if (io_priority < 0) {
    throw errno_error("cannot read the I/O priority of thread {}", tid);
  }
  state.io_priority = static_cast<uint32_t>(io_priority);
  return state;
}

bool set_scheduling_attributes(pid_t tid, const SchedulingAttributes& wanted) {
  return ::syscall(SYS_sched_setattr, tid, &wanted, 0) == 0;
}

bool set_io_priority(pid_t tid, uint32_t priority) {
  return ::syscall(SYS_ioprio_set, kWhoProcess, tid, priority) == 0;
}

}  // namespace godwit
