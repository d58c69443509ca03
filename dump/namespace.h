#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "dump/task_state.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/namespace.pb.h"
#include "kernel/namespace.h"

namespace godwit {

/// Namespaces that aren't kept but handed over by whoever restores: "net[4026532840]:NAME".
using ExternalResources = std::vector<std::string>;

/// The namespaces of the tree's tasks that aren't this process's own.
class NamespaceTable {
 public:
  /// `own`: this process's.
  NamespaceTable(const Namespaces& own, const ExternalResources& externals);

  /// Notes where a thread is, in its task's record if it is the leader. A thread in this process's own
  /// namespaces costs nothing further. Throws Error for arrangements that can't be made again.
  void add(TaskState& task, const ThreadState& thread);

  /// What the namespaces hold, when all tasks have been added. `header` has the clocks. Throws Error that
  /// names what can't be kept.
  void collect(const image::Checkpoint& header);

  void write(CheckpointWriter& writer) const;

 private:
  [[nodiscard]] bool is_external(size_t kind, uint64_t id) const;
  void add_namespace(size_t kind, uint64_t id, const TaskState& task);
  void collect(image::Namespace& record, const image::Checkpoint& header) const;

  Namespaces own_;
  Namespaces root_{};
  std::map<std::string, std::string> externals_;  // "net[INODE]": name
  std::map<uint64_t, image::Namespace> records_;
};

/// Throws unless the mounts are those of this process's own mount namespace.
void refuse_unless_copy_of_own_mounts(pid_t pid);

/// Refuses what isn't kept yet; the calling thread is in the namespace.
void collect_net_namespace(image::NetNamespace& record);

}  // namespace godwit
