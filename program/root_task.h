#pragma once

#include <sys/types.h>

namespace godwit {

/// Waits for a child of ours. SIGINT and SIGTERM that we get meanwhile, or had noted before
/// (kernel/cancel.h), go to the child. Returns its exit code, or 128 + the signal that ended it.
[[nodiscard]] int wait_and_forward_signals(pid_t child);

}  // namespace godwit
