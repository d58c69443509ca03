#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <initializer_list>

namespace godwit {

/// What the injection of code changes in a thread, and puts back. The thread must be in a ptrace stop.
struct ThreadState {
  pid_t tid = 0;
  user_regs_struct general{};
  uint64_t blocked = 0;  // PTRACE_GETSIGMASK

  /// Throws Error.
  [[nodiscard]] static ThreadState of(pid_t tid);
  /// Sets registers, then the mask: a thread whose tracer dies in between runs the engine, which ends by a
  /// signal frame with the right mask. Throws Error.
  void apply(pid_t thread) const;
  /// Sets the mask, then registers: for the way back, so that no thread is left with signals blocked. Throws
  /// Error.
  void put_back(pid_t thread) const;
};

/// Waits until the traced thread stops. Returns the wait status >> 8 with what PTRACE_EVENT bits there
/// are; throws Error if it ended instead.
int wait_for_stop(pid_t tid);

/// Makes thread `tid` (in a ptrace stop) execute one system call that can't block, with all signals held
/// back, and puts its registers and mask back. `instruction`: address of a `syscall` instruction in it.
/// Returns what the kernel returned: -errno for an error. Afterwards the thread stands in a stop from which
/// the kernel still restarts the system call that it was interrupted in, if any. Throws Error if it died.
///
/// If this process is killed between the first and the last step, the thread runs on with foreign registers.
int64_t remote_call(pid_t tid, uint64_t instruction, long number, std::initializer_list<uint64_t> args);

/// Address of a `syscall` instruction that the process can execute: in its vdso, or where the thread is in
/// a system call, or anywhere in its code. Throws Error if there is none.
[[nodiscard]] uint64_t find_syscall_instruction(pid_t pid, pid_t tid);

}  // namespace godwit
