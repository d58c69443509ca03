#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "kernel/cgroup.h"

namespace godwit {

/// Cgroups that a restore has made: the destructor removes them again unless they are kept.
class MadeCgroups {
 public:
  MadeCgroups() = default;
  MadeCgroups(const MadeCgroups&) = delete;
  MadeCgroups& operator=(const MadeCgroups&) = delete;
  ~MadeCgroups();

  /// Makes the cgroup and what is missing between it and the mount point `top`. Returns whether it didn't
  /// exist. Throws Error.
  bool make(const std::string& directory, const std::string& top);
  void keep() { made_.clear(); }

 private:
  std::vector<std::string> made_;  // directories, parents first
};

/// While it lives, this process is in other cgroups than its own: whoever is cloned meanwhile begins there,
/// with that for the root of a new cgroup namespace. Cgroups that don't exist are made, and removed again by
/// the destructor unless they are kept.
class CgroupStay {
 public:
  /// Throws Error, with this process where it was.
  explicit CgroupStay(const std::vector<CgroupRoot>& roots);
  CgroupStay(const CgroupStay&) = delete;
  CgroupStay& operator=(const CgroupStay&) = delete;
  ~CgroupStay();

  /// Goes back. Throws Error.
  void leave();
  void keep() { made_.keep(); }

 private:
  void enter(const CgroupMounts& mounts, const Cgroup& own, const std::string& path);
  void end() noexcept;

  MadeCgroups made_;              // goes when this process isn't in them any more
  std::vector<std::string> own_;  // directories of the cgroups that this process has left
};

/// Throws Error if it is paused: whoever enters it stops in it.
void require_not_paused(const std::string& directory);

/// Moves a process into a cgroup, or a thread by "tasks" and "cgroup.threads". Throws Error.
void move_into_cgroup(const std::string& directory, pid_t who, const char* file = "cgroup.procs");

}  // namespace godwit
