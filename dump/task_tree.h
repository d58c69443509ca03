#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <deque>

#include "dump/task_state.h"

namespace godwit {

/// Which namespaces a thread is in: inode numbers, in the order of kNamespaceKinds.
inline constexpr std::array<const char*, 10> kNamespaceKinds = {
    "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};
using Namespaces = std::array<uint64_t, kNamespaceKinds.size()>;

/// Throws Error if the thread has gone.
[[nodiscard]] Namespaces read_namespaces(pid_t pid, pid_t tid);

struct TreeOptions {
  bool shell_job = false;  // sessions outside the tree are accepted
  bool seccomp_suspended = false;
  Namespaces namespaces{};  // of this process: the only ones that tasks may be in
};

/// The tasks of a frozen tree in the order of the Freezer: who they are, whose children, in which sessions
/// and groups, in which state, what they share. Throws Error that names task and reason for structures
/// that aren't supported.
[[nodiscard]] std::deque<TaskState> collect_task_tree(const Freezer& freezer, const TreeOptions& options);

}  // namespace godwit
