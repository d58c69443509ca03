#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "dump/dump.h"
#include "dump/mount.h"
#include "dump/task_state.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/namespace.pb.h"
#include "kernel/namespace.h"

namespace godwit {

/// The namespaces of the tree's tasks that aren't this process's own.
class NamespaceTable {
 public:
  /// `own`: this process's.
  NamespaceTable(const Namespaces& own, const DumpOptions& options);

  /// Notes where a thread is, in its task's record if it is the leader. A thread in this process's own
  /// namespaces costs nothing further. Throws Error for arrangements that can't be made again.
  void add(TaskState& task, const ThreadState& thread);

  /// What the namespaces hold, when all tasks have been added. `header` has the clocks. Throws Error that
  /// names what can't be kept.
  void collect(const image::Checkpoint& header);

  /// The root directory of the tree's mount namespace, by which its files are named; none: it is ours, or a
  /// copy of that.
  [[nodiscard]] int root_directory() const { return root_directory_ ? root_directory_.get() : AT_FDCWD; }

  /// With the content of the file systems that are made again: the tree still stands still.
  void write(CheckpointWriter& writer, MemoryObjectIds& ids);

 private:
  [[nodiscard]] bool is_external(size_t kind, uint64_t id) const;
  void add_namespace(size_t kind, uint64_t id, const TaskState& task);
  void collect(image::Namespace& record, const image::Checkpoint& header);
  void collect_mounts(pid_t pid);

  Namespaces own_;
  Namespaces root_{};
  std::map<std::string, std::string> externals_;  // "net[INODE]": name
  std::map<uint64_t, image::Namespace> records_;
  MountCollector mounts_;
  bool empty_network_;
  Fd root_directory_;
};

/// The mounts are those of this process's own mount namespace.
[[nodiscard]] bool has_copy_of_own_mounts(pid_t pid);

/// Refuses what isn't kept yet, unless whoever restores will see to it (`only_loopback`). The calling thread
/// is in the namespace.
void collect_net_namespace(image::NetNamespace& record, bool only_loopback);

}  // namespace godwit
