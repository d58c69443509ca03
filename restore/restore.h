#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "kernel/tcp_lock.h"
#include "restore/cgroup.h"

namespace godwit {

struct RestoreOptions {
  unsigned workers = 0;  // threads that fill memory; 0: as many as there are CPUs
  bool sibling = false;  // the root becomes a child of our parent (CLONE_PARENT)
  /// Paths of what the dump was told to be external, by name: namespaces (/run/netns/blue) and what is to be
  /// mounted; of "veth[eth0]" what its other end is to be: OUT or OUT@BRIDGE.
  std::map<std::string, std::string> external;
  std::string root;  // the directory that becomes the root of the tree's mounts; empty: where it was
  CgroupMode cgroup_mode = CgroupMode::Ignore;
  /// Ignore: in which the tree starts, where not in those of this process. Others: where its topmost cgroup
  /// is to be, if not where it was.
  std::vector<CgroupRoot> cgroups;
  bool tcp_established = false;  // TCP connections go on; without, a checkpoint that has some is refused
  NetworkLock network_lock = NetworkLock::Nftables;
};

struct RestoreProgress {
  std::string_view stage;  // "plan", "build", "memory", "resume"
  uint64_t bytes = 0;
  uint64_t total_bytes = 0;
  uint64_t tasks = 0;
};

struct RestoreCallbacks {
  std::function<void(const RestoreProgress&)> progress;
  /// All has been checked that can be without making a process; whether pids are free has not. An exception
  /// abandons the restore.
  std::function<void()> planned;
  /// The root exists, in its namespaces, and waits; nothing else of the tree does. An exception abandons the
  /// restore.
  std::function<void(pid_t root)> created;
  /// The master of a terminal of the tree's, whose other end was outside when it was dumped: to be
  /// duplicated, and kept by somebody, or the tree's session ends. Everything is built. An exception abandons
  /// the restore. Without this callback trees with such terminals are refused.
  std::function<void(int master)> terminal;
  /// The barrier from outside: everything is built and stands one step short of running. An exception
  /// abandons the restore; returning lets the tree run.
  std::function<void(pid_t root)> barrier;
};

/// Restores the tree. Returns the pid of its root, which is a child of the caller (see `sibling`).
/// On any Error nothing of the tree is left. Single-threaded callers only.
pid_t restore(const CheckpointImage& image, const RestoreOptions& options,
              const RestoreCallbacks& callbacks = {});

/// What `restore` would do, for people. Touches no kernel.
[[nodiscard]] std::string describe_plan(const CheckpointImage& image);

}  // namespace godwit
