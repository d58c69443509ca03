#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <set>

#include "images-format/task.pb.h"
#include "plan/plan.h"

namespace godwit {

/// What the tasks of a tree with a pid namespace of its own are called here. Nothing depends on these numbers
/// inside, so that they may be others than in the image: then the plan gets a copy of the task's record with
/// the new ones.
class PidsNow {
 public:
  /// The coordinator knows the pid of what it has made itself.
  void learn(Plan& plan, int node, pid_t pid);
  /// Asks for a task that exists by now, whose root is known. Throws Error.
  void learn(Plan& plan, int node);
  /// Likewise for all threads of such a task.
  void learn_threads(Plan& plan, int node);

  /// Whether the pid in the plan is the task's.
  [[nodiscard]] static bool knows(const Plan& plan, size_t node) { return plan.nodes[node].pids[0] != 0; }
  /// The pid, tid, process group or session now of whoever had that number in the image. Throws Error for the
  /// number of somebody who isn't in the plan.
  [[nodiscard]] pid_t now(const Plan& plan, pid_t in_image) const;

 private:
  image::Task& own_record(PlannedNode& node);

  [[nodiscard]] bool is_ours(const Plan& plan, pid_t in_image) const;

  mutable std::set<pid_t> ours_;  // all numbers in the image, once somebody has asked
  std::set<int> asked_;           // nodes that the kernel has given a pid of its choice
  std::map<pid_t, pid_t> changed_;
  std::deque<image::Task> records_;
};

}  // namespace godwit
