#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint_reader.h"
#include "kernel/cgroup.h"
#include "plan/plan.h"
#include "restore/cgroup.h"
#include "restore/cgroup_properties.h"

namespace godwit {

/// The cgroups of the tree, and which task and thread goes into which. The root is cloned where it belongs,
/// and a child by a task that is there already wherever that is its place, too: a single move takes
/// milliseconds.
class CgroupTree {
 public:
  /// Ignore: nothing is made or moved. `roots`: see RestoreOptions. Warns of hierarchies that aren't here.
  /// Throws Error.
  CgroupTree(const CheckpointImage& image, const Plan& plan, CgroupMode mode,
             const std::vector<CgroupRoot>& roots);

  /// Where this process has to be when it clones the root.
  [[nodiscard]] const std::vector<CgroupRoot>& entry() const { return entry_; }
  /// Makes the cgroups that don't exist, as the mode allows, but for those that keep devices from the tree.
  /// Throws Error.
  void make();
  /// When the root of a cgroup namespace has been moved to its place: cgroups of version 2 hand their
  /// controllers to those below.
  void enable_controllers() { properties_.try_all(CgroupProperties::When::Controllers); }
  /// Whether a node has to be moved as soon as it exists.
  [[nodiscard]] bool moves(int node) const;
  /// Moves it; `pid` is its pid here. Throws Error.
  void move(int node, pid_t pid) const;
  /// Moves those threads that aren't where their task is, when all of them exist. Throws Error.
  void move_threads(const PlannedNode& node) const;

  /// When all tasks are there with their memory and files: properties are set, and who is in a cgroup that
  /// allows only some devices goes there. Throws Error.
  void finish(const Plan& plan);
  /// When nothing of the tree has to run any more: pauses what was paused. Throws Error.
  void pause() { properties_.set_last(); }
  /// Before the tree is killed.
  void resume() noexcept { properties_.undo_last(); }

  /// What was made and set is left by the destructor.
  void keep() {
    properties_.keep();
    made_.keep();
  }

 private:
  struct Hierarchy {
    Cgroup own;              // of this process
    std::string top_before;  // of the tree, in the image
    std::string top;         // now
    bool late = false;       // it keeps devices from the tasks, which haven't opened them yet
  };
  struct Directory {
    const Hierarchy* hierarchy = nullptr;
    std::string directory;
    std::string top;                                 // the mount point
    const image::CgroupDirectory* record = nullptr;  // none: the dump wasn't asked to keep it
    bool used = false;                               // somebody goes there
    bool done = false;                               // it exists
    bool made = false;                               // for this tree, with a record
  };
  using Paths = std::vector<std::string>;  // one a hierarchy

  void find_hierarchies(const CheckpointImage& image, const Plan& plan);
  void find_paths(const CheckpointImage& image, const Plan& plan);
  void find_moves(const Plan& plan);
  void add_directories(const CheckpointImage& image);
  void make(Directory& directory, CgroupProperties::When until);
  void move_late(const Plan& plan, size_t hierarchy) const;
  void enter(pid_t who, bool thread, const Hierarchy& hierarchy, const std::string& path) const;
  void move(pid_t who, uint32_t from, uint32_t to, bool thread) const;

  CgroupMode mode_;
  std::vector<CgroupRoot> entry_;
  std::vector<Hierarchy> hierarchies_;
  std::map<uint32_t, Paths> paths_;  // by CgroupSet; 0: where the root is cloned
  std::vector<uint32_t> sets_;       // of the nodes
  std::vector<uint32_t> before_;     // in which they are cloned
  std::map<std::pair<std::string, std::string>, Directory> directories_;  // by controllers here and path
  MadeCgroups made_;
  CgroupProperties properties_;  // set back before what was made goes
};

}  // namespace godwit
