#pragma once

#include <sys/types.h>

#include <deque>

#include "dump/namespace.h"
#include "dump/task_state.h"

namespace godwit {

struct TreeOptions {
  bool shell_job = false;  // sessions outside the tree are accepted
  bool seccomp_suspended = false;
};

/// The tasks of a frozen tree in the order of the Freezer: who they are, whose children, in which sessions
/// and groups, in which state, what they share; their namespaces go into the table. Throws Error that names
/// task and reason for structures that aren't supported.
[[nodiscard]] std::deque<TaskState> collect_task_tree(const Freezer& freezer, const TreeOptions& options,
                                                      NamespaceTable& namespaces);

/// Throws Error for a thread under a seccomp filter that isn't suspended. `thread` with its status.
void refuse_visible_injection(const ThreadState& thread, bool seccomp_suspended);

}  // namespace godwit
