#pragma once

#include <sys/types.h>

namespace godwit {

/// Some system calls fail with EINTR when their thread is stopped, though no signal has been handled
/// (signal(7), "Interruption of system calls and library functions by stop signals"). For a thread that
/// PTRACE_INTERRUPT has just stopped this makes the kernel start such a call again, here when the thread is
/// let go as well as after a restore: unless a handler runs first; then EINTR it is. A relative time-out
/// begins anew. The thread must be in that stop. Throws Error.
void undo_interruption(pid_t tid);

}  // namespace godwit
