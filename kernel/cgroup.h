#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel/mount.h"

/// Control groups, of both versions: cgroups(7).
namespace godwit {

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
