#pragma once

#include <sys/types.h>

#include "kernel/fd.h"

namespace godwit {

/// pidfd_open(2). Throws Error if there is no such process.
[[nodiscard]] Fd open_pidfd(pid_t pid);
/// pidfd_getfd(2): another descriptor, close-on-exec, of the very open file description that is number
/// `number` of the process. Throws Error.
[[nodiscard]] Fd copy_descriptor(int pidfd, int number);

}  // namespace godwit
