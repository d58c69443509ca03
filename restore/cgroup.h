#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernel/cgroup.h"

namespace godwit {

/// Where a tree is to be, in one hierarchy of cgroups or in all.
struct CgroupRoot {
  std::optional<std::string> controller;  // none: all hierarchies; empty: version 2
  std::string path;                       // as this process's cgroup namespace shows it
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
  void keep() { made_.clear(); }

 private:
  void enter(const CgroupMounts& mounts, const Cgroup& own, const std::string& path);
  void end() noexcept;
  void make(const std::string& directory, const std::string& top);

  std::vector<std::string> own_;   // directories of the cgroups that this process has left
  std::vector<std::string> made_;  // directories, parents first
};

}  // namespace godwit
