#pragma once

#include <sys/types.h>

#include "kernel/procfs.h"

/// What the Freezer asks of processes, and what it refuses of them.
namespace godwit {

/// The thread stands in vfork(2) or a clone with CLONE_VFORK, which no stop can interrupt.
[[nodiscard]] bool waits_for_vfork_child(pid_t pid, pid_t tid);

[[nodiscard]] bool exists(pid_t pid);

[[nodiscard]] bool dead(const procfs::Stat& stat);

/// A leader may be dead for good while its threads live on. One that dies with all its threads is only seen
/// so for a moment. Throws Error: the first; otherwise the threads are dead when this returns.
void refuse_lone_threads(pid_t pid);

/// The tree holds godwit itself.
[[noreturn]] void refuse_ourselves(pid_t root);

/// Throws Error if that can't be the root of a tree to be frozen.
void check_root(pid_t root);

}  // namespace godwit
