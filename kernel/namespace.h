#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/fd.h"

namespace godwit {

/// The links of /proc/PID/ns, in the order of Namespaces.
inline constexpr std::array<const char*, 10> kNamespaceKinds = {
    "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};
/// Which namespaces a thread is in: inode numbers; 0 for a kind that this kernel lacks, and for a
/// pid_for_children without an init.
using Namespaces = std::array<uint64_t, kNamespaceKinds.size()>;

/// Throws Error if the thread has gone.
[[nodiscard]] Namespaces read_namespaces(pid_t pid, pid_t tid);

/// Where a kind of namespace stands in Namespaces. Throws Error for an unknown kind.
[[nodiscard]] size_t namespace_index(std::string_view kind);

/// The CLONE_NEW… flag of a kind; 0 for "pid_for_children" and "time_for_children". See namespaces(7).
[[nodiscard]] uint64_t namespace_flag(std::string_view kind);

/// A descriptor of a task's namespace. Throws Error.
[[nodiscard]] Fd open_namespace(pid_t pid, const char* kind);
/// Its inode number. Throws Error.
[[nodiscard]] uint64_t namespace_id(int descriptor);
/// The user namespace that owns it, 0 if that is above our own. Throws Error. See ioctl_ns(2).
[[nodiscard]] uint64_t owning_user_namespace(int descriptor);

/// What a process or thread of a pid namespace is called in ours. -1 and errno if there is none, or the
/// kernel can't tell and it can't be found in /proc either.
[[nodiscard]] pid_t pid_from_namespace(int pid_namespace, pid_t inside);

/// While it lives, the calling thread is in another namespace of one kind ("uts", "ipc", "net"; "time" and
/// "mnt" in processes of one thread, the latter with root and working directory at that namespace's root).
/// The way back can't fail for whoever could enter.
class EnteredNamespace {
 public:
  /// Throws Error.
  EnteredNamespace(const char* kind, int descriptor);
  EnteredNamespace(const EnteredNamespace&) = delete;
  EnteredNamespace& operator=(const EnteredNamespace&) = delete;
  ~EnteredNamespace();

 private:
  uint64_t flag_;
  Fd own_;
  Fd root_;
  Fd working_directory_;
};

}  // namespace godwit
