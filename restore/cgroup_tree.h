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
  /// Makes the cgroups that don't exist, as the mode allows. Throws Error.
  void make();
  /// Whether a node has to be moved as soon as it exists.
  [[nodiscard]] bool moves(int node) const;
  /// Moves it; `pid` is its pid here. Throws Error.
  void move(int node, pid_t pid) const;
  /// Moves those threads that aren't where their task is, when all of them exist. Throws Error.
  void move_threads(const PlannedNode& node) const;

  /// What was made is left by the destructor.
  void keep() { made_.keep(); }

 private:
  struct Hierarchy {
    Cgroup own;              // of this process
    std::string top_before;  // of the tree, in the image
    std::string top;         // now
  };
  struct Directory {
    std::string directory;
    std::string top;                                 // the mount point
    const image::CgroupDirectory* record = nullptr;  // none: the dump wasn't asked to keep it
    bool used = false;                               // somebody goes there
    bool made = false;
  };
  using Paths = std::vector<std::string>;  // one a hierarchy

  void find_hierarchies(const CheckpointImage& image, const Plan& plan);
  void find_paths(const CheckpointImage& image, const Plan& plan);
  void find_moves(const Plan& plan);
  void add_directories(const CheckpointImage& image);
  void make(Directory& directory);
  void move(pid_t who, uint32_t from, uint32_t to, bool thread) const;

  CgroupMode mode_;
  std::vector<CgroupRoot> entry_;
  std::vector<Hierarchy> hierarchies_;
  std::map<uint32_t, Paths> paths_;  // by CgroupSet; 0: where the root is cloned
  std::vector<uint32_t> sets_;       // of the nodes
  std::vector<uint32_t> before_;     // in which they are cloned
  std::map<std::pair<std::string, std::string>, Directory> directories_;  // by controllers here and path
  MadeCgroups made_;
};

}  // namespace godwit
