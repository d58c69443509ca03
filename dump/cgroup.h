#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dump/task_state.h"
#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint_writer.h"
#include "kernel/cgroup.h"

namespace godwit {

/// In which cgroups the tree is; and if it is to be kept, what these are like.
class CgroupCollector {
 public:
  /// Looks at the root, which may still run. Throws Error.
  CgroupCollector(CgroupMode mode, pid_t root);

  /// Notes where a task is, and its threads. Refuses a task that is paused by another cgroup than the root.
  /// Throws Error.
  void collect(TaskState& task);
  /// The cgroups themselves, when all tasks are known. `inside`: the root task's /proc/PID/cgroup as its own
  /// cgroup namespace shows it; empty: it has none. `paused`: the directory of the cgroup by which the tree
  /// was paused before it was frozen; empty: none. Throws Error that names what can't be kept.
  void collect_cgroups(const std::string& inside, const std::string& paused);
  void write(CheckpointWriter& writer) const;

 private:
  uint32_t set_of(const std::string& lines);
  void collect_hierarchy(const CgroupMounts& mounts, const Cgroup& root, const std::string& top,
                         const std::string& paused);

  CgroupMode mode_;
  std::string root_;                      // lines of its /proc/PID/cgroup
  std::map<std::string, uint32_t> sets_;  // by lines
  std::vector<image::CgroupHierarchy> found_;
};

/// The root of the cgroup namespace in which the cgroup `path` is called `inside`. Throws Error if `path`
/// isn't below that root.
[[nodiscard]] std::string cgroup_namespace_root(const std::string& path, const std::string& inside);

}  // namespace godwit
