#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dump/external.h"
#include "dump/mount_options.h"
#include "images-format/checkpoint_writer.h"
#include "kernel/cgroup.h"
#include "kernel/tcp_lock.h"

namespace godwit {

struct DumpOptions {
  pid_t pid = 0;          // root of the tree
  std::string directory;  // final name of the checkpoint
  /// A directory that the caller holds open, or -1. If given, the checkpoint's files are made in it, and
  /// `directory` only names it in errors.
  int directory_fd = -1;
  std::string file;  // if given: one file of this name instead of a directory
  /// If not -1: a pipe, a socket or an open file to which the checkpoint is written instead, in the form of
  /// one file. The tree is ended only when the kernel tells that the reader has taken all of it; where it
  /// can't tell, the tree must be left (`after`). Until then it stands still, also where it is to run on,
  /// since its memory isn't kept anywhere meanwhile. A slow reader makes that long. `file` only names it in
  /// errors.
  int stream = -1;
  enum class After { Kill, LeaveRunning, LeaveStopped };
  After after = After::Kill;  // what becomes of the tree once the checkpoint is complete
  /// Resources that aren't kept, of kinds that are told by inode numbers: namespaces, and pipes whose other
  /// end is outside. Each has a name.
  std::vector<ExternalResource> external;
  /// Any pipe whose other end is outside is external, under its own name ("pipe:[INODE]").
  bool external_pipes = false;
  /// Any veth pair whose other end is outside is external.
  bool external_veths = false;
  /// Of the tree's network namespace nothing is kept but whether its loopback device is up: whoever restores
  /// furnishes it.
  bool empty_network = false;
  MountOptions mounts;     // of mount namespaces other than the caller's
  bool shell_job = false;  // session and terminal belong to a shell outside the tree
  /// Whoever restores takes the master of a terminal that is in a devpts instance of the tree's own, and
  /// whose master is outside: a container's console.
  bool orphan_terminals = false;
  /// Ignore: only in which cgroups the tasks are. None: in which ones tasks and threads are, and the cgroups
  /// themselves, without their properties. Others: all of that.
  CgroupMode cgroups = CgroupMode::Ignore;
  /// An earlier checkpoint of the tree, by its path as seen from `directory`: pages that haven't been written
  /// since then are referred to there. Empty: none. Only for a directory.
  std::string parent;
  /// Writes are tracked from this checkpoint on, so that it can be a later one's parent.
  bool track = false;
  bool tcp_established = false;  // TCP connections are kept; without, a tree that has some is refused
  NetworkLock network_lock = NetworkLock::Nftables;
  WriterOptions writer;
  unsigned workers = 0;  // threads that copy memory; 0: as many as there are CPUs
};

/// How far long work has come. `total` 0: not known yet.
struct Progress {
  std::string_view stage;  // "freeze", "collect", "memory", "write", ...
  uint64_t bytes = 0;
  uint64_t total_bytes = 0;
  uint64_t tasks = 0;
};

struct DumpCallbacks {
  std::function<void(const Progress&)> progress;  // from the calling thread, often
  /// Every thread stands still; nothing has been read yet. An exception abandons the dump.
  std::function<void()> frozen;
  /// The checkpoint is complete and bears its name; the tree still stands still (also where it is to run on:
  /// it runs on later for that). An exception takes the checkpoint back and abandons the dump. Not together
  /// with `stream`, which can't be taken back.
  std::function<void()> complete;
};

struct DumpReport {
  uint64_t tasks = 0;
  uint64_t threads = 0;
  uint64_t pages = 0;  // written
  uint64_t zero_pages = 0;
  uint64_t inherited_pages = 0;
  uint64_t in_parent_pages = 0;  // in the parent checkpoint
  uint64_t payload_bytes = 0;
  uint64_t freezing_ns = 0;  // until every thread stood still
  uint64_t frozen_ns = 0;    // from the first stop until the tree was let go or killed
  uint64_t memory_ns = 0;    // copying pages
};

/// Dumps the tree of `options.pid`. On any Error the tree runs on as it was and nothing new bears the final
/// name. Single-threaded callers only: the calling thread becomes the tracer.
DumpReport dump(const DumpOptions& options, const DumpCallbacks& callbacks = {});

}  // namespace godwit
