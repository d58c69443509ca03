#include "dump/interrupted_call.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "kernel/ptrace.h"

namespace godwit {

namespace {

// include/linux/errno.h: restart, or EINTR if a handler runs.
constexpr int64_t kRestartNoHandler = 514;

// Calls that wait, and that can be made again as if nothing had been. Those on sockets only fail with EINTR
// where the socket has a time-out.
constexpr auto kRestartable = std::to_array<long>(
    {SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_rt_sigtimedwait, SYS_semop, SYS_semtimedop,
     SYS_io_getevents, SYS_io_pgetevents, SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom,
     SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_accept, SYS_accept4});

}  // namespace

void undo_interruption(pid_t tid) {
  user_regs_struct registers = ptrace::registers(tid);
  const auto call = static_cast<long>(registers.orig_rax);
  if (static_cast<int64_t>(registers.rax) == -EINTR &&
      std::find(kRestartable.begin(), kRestartable.end(), call) != kRestartable.end()) {
    registers.rax = static_cast<unsigned long long>(-kRestartNoHandler);
    ptrace::set_registers(tid, registers);
  }
}

}  // namespace godwit
