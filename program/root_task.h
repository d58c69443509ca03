#pragma once

#include <sys/types.h>

namespace godwit {

/// Waits for a child of ours, as the job of the shell that runs us. SIGINT, SIGQUIT, SIGTERM and SIGHUP that
/// we get meanwhile, or had noted before (kernel/cancel.h), go to the child, or to its whole process group if
/// a terminal sends them; we stop when it is stopped in a terminal's foreground. Returns its exit code, or
/// 128 + the signal that ended it.
[[nodiscard]] int wait_and_forward_signals(pid_t child);

}  // namespace godwit
