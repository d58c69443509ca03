#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "dump/dump.h"
#include "dump/mount.h"
#include "dump/net_settings.h"
#include "dump/task_state.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/namespace.pb.h"
#include "kernel/clock.h"
#include "kernel/namespace.h"

namespace godwit {

/// The namespaces of the tree's tasks that aren't this process's own.
class NamespaceTable {
 public:
  /// `own`: this process's. `options` stay the caller's.
  NamespaceTable(const Namespaces& own, const DumpOptions& options);

  /// Notes where a thread is, in its task's record if it is the leader. A thread in this process's own
  /// namespaces costs nothing further. Throws Error for arrangements that can't be made again.
  void add(TaskState& task, const ThreadState& thread);

  /// What the namespaces hold, when all tasks have been added. `header`: with the clocks as they were when
  /// the tree stood still. Throws Error that names what can't be kept.
  void collect(const image::Checkpoint& header);

  /// The root directory of the tree's mount namespace, by which its files are named; none: it is ours, or a
  /// copy of that.
  [[nodiscard]] int root_directory() const { return root_directory_ ? root_directory_.get() : AT_FDCWD; }

  /// As MountCollector has it.
  [[nodiscard]] const FileTable::Mounted& mounted_without_name() const {
    return mounts_.mounted_without_name();
  }

  /// What the root task's /proc/PID/cgroup says in a cgroup namespace of the tree's own; empty: there is
  /// none.
  [[nodiscard]] const std::string& cgroups_inside() const { return cgroups_inside_; }

  /// The tree's network namespace; -1: it is this process's own.
  [[nodiscard]] int net_namespace() const { return net_namespace_ ? net_namespace_.get() : -1; }

  /// What a clock shows now to the tree's tasks, in ns. Throws Error if there is no such clock.
  [[nodiscard]] uint64_t clock_of_tree(clockid_t clock) const;

  /// As MountCollector::use_terminal; of a tree without mounts of its own it is empty.
  [[nodiscard]] std::string use_terminal(const struct stat& terminal) {
    return root_directory_ ? mounts_.use_terminal(terminal, root_directory_.get()) : std::string();
  }

  /// That a session of the tree is controlled by such a terminal, for whom it may concern.
  void set_terminal_of_session(pid_t leader, std::string path) { terminals_[leader] = std::move(path); }
  /// Empty: by none, or another.
  [[nodiscard]] std::string terminal_of_session(pid_t leader) const {
    const auto found = terminals_.find(leader);
    return found == terminals_.end() ? std::string() : found->second;
  }

  /// With the content of the file systems that are made again: the tree still stands still.
  void write(CheckpointWriter& writer, MemoryObjectIds& ids);

 private:
  void add_namespace(size_t kind, uint64_t id, const TaskState& task);
  void collect(image::Namespace& record, const image::Checkpoint& header);
  void collect_mounts(pid_t pid);

  Namespaces own_;
  Namespaces root_{};
  const DumpOptions& options_;
  std::map<uint64_t, image::Namespace> records_;
  MountCollector mounts_;
  Fd root_directory_;
  Fd net_namespace_;
  ClockOffsets clock_offsets_;  // what the tree's time namespace adds to our clocks
  std::string cgroups_inside_;
  NetSettingsReader net_settings_;
  std::map<pid_t, std::string> terminals_;  // paths, by session
};

/// The mounts are those of this process's own mount namespace.
[[nodiscard]] bool has_copy_of_own_mounts(pid_t pid);

/// What its clocks showed when the tree stood still. `offsets`: what it adds to ours.
void collect_time_namespace(image::TimeNamespace& record, const image::Checkpoint& header,
                            const ClockOffsets& offsets);

/// Its limits. Refuses objects in it. The calling thread is in the namespace.
void collect_ipc_namespace(image::IpcNamespace& record);

/// Refuses what isn't kept yet, unless whoever restores will see to it (`empty_network`). The calling thread
/// is in the namespace.
void collect_net_namespace(image::NetNamespace& record, const DumpOptions& options,
                           NetSettingsReader& settings);

}  // namespace godwit
