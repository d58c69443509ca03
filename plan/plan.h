#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/mm.pb.h"
#include "images-format/namespace.pb.h"
#include "images-format/task.pb.h"

namespace godwit {

/// When a node clones a child, in the order in which a node lives.
enum class CloneStage {
  BeforeSession,        // the child belongs to the session that the node itself is about to leave
  BeforeSessionFilled,  // likewise, and it shares pages copy-on-write: the node's memory must be there first
  AfterSession,
  Filled,  // the child shares pages copy-on-write
};

/// One process that a restore makes: a task, a zombie, or a helper that stands in for one that is gone.
struct PlannedNode {
  enum class Kind { Task, Zombie, Helper };
  Kind kind = Kind::Task;
  const image::Task* task = nullptr;  // null for a helper
  /// The same, with the numbers that task and threads have now at the dumper's level: another record where
  /// they aren't those of the image.
  const image::Task* now = nullptr;
  const image::Mm* mm = nullptr;  // null unless Task
  pid_t pid = 0;                  // in the image, dumper's level
  /// To be had again, one a pid-namespace level from the coordinator's down to its own; the first is 0 where
  /// any will do.
  std::vector<pid_t> pids;
  int parent = -1;  // node whose child it is in the end; -1: the root
  int cloner = -1;  // node that clones it; -1: the coordinator. If this isn't the parent, it ends
                    // after the clone, and the child falls to its parent, a child subreaper
  CloneStage stage = CloneStage::AfterSession;
  bool shares_pages = false;  // copy-on-write with its parent
  bool copies_pages = false;  // what it shared with its parent is written anew: it can't be cloned from there
  bool leads_session = false;
  pid_t group = 0;                  // to be joined; 0: whatever the cloner has
  int group_leader = -1;            // node whose pid is the group's number; -1: none
  bool makes_group = false;         // it leads a group at first, even if it joins another in the end
  bool scaffold_subreaper = false;  // orphans must fall to it while the tree is built
  int adopter = -1;          // node to which all orphans fall that it leaves behind; -1: it leaves none
  std::vector<int> passers;  // nodes below it whose orphans fall to somebody above it: it may adopt
                             // orphans itself only when these have ended
  bool shares_descriptors = false;  // CLONE_FILES with its cloner
  bool shares_filesystem = false;   // CLONE_FS with its cloner
  std::vector<int> children;        // that it clones, in the order of the image
  std::vector<int> wards;           // whose parent it is in the end, in the order in which it waits for them
  std::vector<int> members;         // others that join the process group of its number

  [[nodiscard]] pid_t pid_inside() const { return pids.back(); }
};

/// Which processes are made, by whom, in which order. A pure function of the checkpoint: it touches no
/// kernel. A node stands after the node that clones it.
struct Plan {
  std::vector<PlannedNode> nodes;
  std::vector<const image::Namespace*> root_namespaces;  // in which the root isn't ours; no user
  int levels_above_root = 0;  // pid namespaces between the dumper's and the root's: 0 or more

  /// What a task or thread of the image is called at each level, as PlannedNode::pids.
  [[nodiscard]] std::vector<pid_t> ids(const google::protobuf::RepeatedField<int32_t>& in_image) const;
  /// The pid of a node as another sees it, which must be in the same pid namespace or in one above; 0 if
  /// it isn't.
  [[nodiscard]] pid_t pid_seen_by(int who, int by) const;
  /// Whether a node is the first of a pid namespace.
  [[nodiscard]] bool opens_pid_namespace(int node) const;
  /// The record of the root's namespace of that kind; null if it is ours.
  [[nodiscard]] const image::Namespace* root_namespace(std::string_view kind) const;

  [[nodiscard]] const PlannedNode& root() const { return nodes.front(); }
  /// Lines for people.
  [[nodiscard]] std::string describe() const;
};

/// The records that a plan is made from: consistent, as a validated image or a dump has them.
struct TreeRecords {
  pid_t root_pid = 0;
  std::vector<const image::Task*> tasks;
  std::vector<const image::Mm*> mms;
  std::set<uint64_t> copy_on_write_objects;         // ids of memory objects with pages that a parent shares
  std::vector<const image::Namespace*> namespaces;  // that aren't the dumper's own
};
[[nodiscard]] TreeRecords tree_records(const CheckpointImage& image);

/// Whether nobody has a pid now.
using PidIsFree = std::function<bool(pid_t)>;

/// Throws Error, which names the task, for trees that can't be made again: a dump asks that too, while the
/// tree lives. Helpers that stand in for nobody get pids that aren't in the records and that `is_free` says
/// yes to.
[[nodiscard]] Plan make_plan(
    const TreeRecords& tree, const PidIsFree& is_free = [](pid_t) { return true; });

/// A process group is orphaned if none of its members has a parent in another group of the same session; then
/// SIGTSTP, SIGTTIN and SIGTTOU stop nobody in it. Returns a member that has such a parent (for the root of a
/// shell job that is whoever restores), -1 if there is none.
[[nodiscard]] int member_that_is_watched(const Plan& plan, int node);

}  // namespace godwit
