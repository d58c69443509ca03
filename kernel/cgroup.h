#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/mount.h"

/// Control groups, of both versions: cgroups(7).
namespace godwit {

/// What becomes of cgroups, by the words that users of checkpoint and restore know.
enum class CgroupMode {
  Ignore,  // nothing
  None,    // tasks return to their cgroups, which must exist
  Props,   // likewise, and these get their properties
  Soft,    // cgroups that don't exist are made, and get their properties; others stay as they are
  Full,    // cgroups that don't exist are made; all get their properties
  Strict,  // all are made; none may exist
};

/// "ignore", "none", ...; empty: Soft. Nothing for another word.
[[nodiscard]] std::optional<CgroupMode> cgroup_mode(std::string_view word);

/// An absolute path, short enough for the kernel, on which no way leads out of the hierarchy.
[[nodiscard]] bool is_cgroup_path(std::string_view path);

/// Where a tree is to be, in one hierarchy of cgroups or in all.
struct CgroupRoot {
  std::optional<std::string> controller;  // none: all hierarchies; empty: version 2
  std::string path;                       // as this process's cgroup namespace shows it
};

/// Reads [CONTROLLER:]PATH. The path isn't looked at.
[[nodiscard]] CgroupRoot parse_cgroup_root(std::string_view text);

/// Where a process is in one hierarchy: a line of /proc/PID/cgroup.
struct Cgroup {
  std::string controllers;  // "cpu,cpuacct", "name=systemd"; empty: version 2
  std::string path;         // as this process's cgroup namespace shows it

  /// An empty controller is that of version 2.
  [[nodiscard]] bool has(std::string_view controller) const;
};

/// Lines of /proc/PID/cgroup.
[[nodiscard]] std::vector<Cgroup> parse_cgroups(std::string_view text);

/// The hierarchies that this process's mounts show.
class CgroupMounts {
 public:
  /// Throws Error.
  CgroupMounts();

  struct Place {
    std::string directory;  // of the cgroup; empty: no mount shows it
    std::string top;        // the mount point
  };
  [[nodiscard]] Place find(const Cgroup& cgroup) const;

 private:
  std::vector<MountInfo> mounts_;
};

}  // namespace godwit
