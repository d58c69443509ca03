#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstdint>
#include <initializer_list>

namespace godwit {

/// What the injection of code changes in a thread, and puts back. The thread must be in a ptrace stop.
struct ThreadContext {
  pid_t tid = 0;
  user_regs_struct general{};
  uint64_t blocked = 0;  // PTRACE_GETSIGMASK

  /// Throws Error.
  [[nodiscard]] static ThreadContext of(pid_t tid);
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

/// Where an injected system call is made.
struct CallSite {
  uint64_t instruction;  // address of a `syscall` instruction
  uint64_t stack;        // stack pointer: where the thread goes after the call if its tracer is killed
};

/// Makes the thread that is `before` (in a ptrace stop) execute one system call that can't block, with all
/// signals held back. Afterwards it stands behind the call, in a stop from which the kernel still restarts
/// the system call that the thread was interrupted in, once its registers and mask are put back. Throws Error
/// if it died.
void inject_call(const ThreadContext& before, const CallSite& site, long number,
                 std::initializer_list<uint64_t> args);

/// Address of a `syscall` instruction that the process can execute: in its vdso, or where the thread is in
/// a system call, or anywhere in its code. Throws Error if there is none.
[[nodiscard]] uint64_t find_syscall_instruction(pid_t pid, pid_t tid);

}  // namespace godwit
