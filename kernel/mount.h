#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/fd.h"

/// Mounts as /proc/PID/mountinfo tells of them (proc(5)), and the system calls that make them by descriptors
/// (fsopen(2) and its kin; Documentation/filesystems/mount_api.rst).
namespace godwit {

/// One line of mountinfo.
struct MountInfo {
  uint32_t id = 0;
  uint32_t parent_id = 0;
  dev_t device = 0;
  std::string root;         // within the file system; ends in "//deleted" if it has been removed
  std::string mount_point;  // from the reader's root
  uint64_t attributes = 0;  // MOUNT_ATTR_*
  bool idmapped = false;
  uint32_t peer_group = 0;  // "shared:N"
  uint32_t master = 0;      // "master:N"
  bool unbindable = false;
  std::string type;
  std::string source;
  bool read_only = false;            // the superblock
  std::vector<std::string> options;  // of the superblock, without ro and rw

  [[nodiscard]] bool is_deleted() const { return root.ends_with("//deleted"); }
  /// Where a root that has been removed was; else the root.
  [[nodiscard]] std::string former_root() const {
    return is_deleted() ? root.substr(0, root.rfind("//deleted")) : root;
  }
};

/// Throws Error for text that isn't what proc(5) promises, a flag of a mount that isn't known included.
[[nodiscard]] std::vector<MountInfo> parse_mountinfo(std::string_view text);

/// Whether `path` is `directory` or below it; both absolute.
[[nodiscard]] bool is_below(std::string_view path, std::string_view directory);
/// What is left of `path` below `directory`, without slashes in front; empty: it is the directory.
[[nodiscard]] std::string relative_to(std::string_view path, std::string_view directory);
/// A relative path (perhaps empty) in a directory.
[[nodiscard]] std::string joined_path(std::string_view directory, std::string_view relative);

/// A detached copy of the mount that `path` leads to, with what `path` is as its root and nothing mounted
/// below. An empty path: of `directory` itself. A last symbolic link isn't followed. Throws Error.
[[nodiscard]] Fd clone_mount(int directory, const std::string& path);
/// A detached mount of a new superblock (or of the one that the kernel has for these options). Options that
/// only say what is so anyway (inode64) may be unknown to the kernel. Throws Error with what the kernel has
/// to say.
[[nodiscard]] Fd make_superblock(const std::string& type, const std::string& source,
                                 const std::vector<std::string>& options);
/// Makes the superblock of a mount read-only. Throws Error.
void set_superblock_read_only(int mount);
/// Attaches a detached mount to what descriptor `target` is. Throws Error.
void attach_mount(int mount, int target);
/// Sets flags that aren't set, and clears those that are, of one mount: MOUNT_ATTR_*. Throws Error.
void set_mount_attributes(int mount, uint64_t attributes);
/// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE for one mount. Throws Error.
void set_propagation(int mount, uint64_t propagation);
/// `to`, which is private, becomes what `from` is: its peer, the slave of its master, or both. Both are
/// mounts of one superblock in our namespace, `from` at least as wide as `to`. Throws Error.
void join_peer_group(int from, int to);
/// Opens (O_PATH) what `path` leads to from `directory` without following links, leaving the mount or going
/// up. An empty path: the directory itself. Throws Error.
[[nodiscard]] Fd open_within_mount(int directory, const std::string& path);
/// Opens (O_PATH) what `path` leads to for a process whose root directory is descriptor `root`: symbolic
/// links on the way stay below it, too; a last one isn't followed. Invalid and errno if there is nothing.
[[nodiscard]] Fd open_in_root(int root, const std::string& path);
/// What `path` leads to for such a process, all symbolic links followed: the path without links, from that
/// root. Nothing if there is nothing, or what is there is out of that root's reach. Throws Error.
[[nodiscard]] std::optional<std::string> resolve_in_root(int root, const std::string& path);
/// Runs `body` in a thread of its own that has entered the mount namespace of descriptor `space`; "/" is the
/// root of that. What `body` throws is thrown here. Throws Error.
void in_mount_namespace(int space, const std::function<void()>& body);
/// Whether the root directory of a mount has no entries. Throws Error.
[[nodiscard]] bool is_empty_directory(int mount);
/// mnt_id of what a descriptor is on, as mountinfo names it; 0: the kernel doesn't say. Throws Error.
[[nodiscard]] uint64_t mount_id_of(int fd);

}  // namespace godwit
