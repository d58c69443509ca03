#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "dump/paused_cgroup.h"
#include "kernel/clock.h"
#include "kernel/procfs.h"

namespace godwit {

class Undertaker;

/// A task of the frozen tree.
struct FrozenTask {
  procfs::Stat stat;           // read when everything stood still
  pid_t parent = 0;            // 0: the root
  std::vector<pid_t> threads;  // leader first; none: a zombie
  int stop_signal = 0;         // the group stop in which it was found; 0: it ran

  [[nodiscard]] pid_t pid() const { return stat.pid; }
  [[nodiscard]] bool zombie() const { return threads.empty(); }
};

/// A process tree that stands still: every thread of every task from the root down is seized by ptrace(2)
/// and in a stop. The destructor lets everything go as it was, running, stopped, or paused by its cgroup. The
/// thread that made the object is the tracer and must be the one that uses it.
class Freezer {
 public:
  /// Throws Error, with everything let go: the root is no process, not ours to trace, traced by another,
  /// a kernel thread, a zombie, this process or an ancestor; a leader that has ended before its threads;
  /// io_uring workers; a parent that waits for its vfork child for seconds.
  explicit Freezer(pid_t root);
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;
  ~Freezer();

  /// The root first, parents before their children.
  [[nodiscard]] const std::vector<FrozenTask>& tasks() const { return tasks_; }
  /// Injected system calls aren't seen by seccomp filters (PTRACE_O_SUSPEND_SECCOMP).
  [[nodiscard]] bool seccomp_suspended() const { return suspend_seccomp_; }
  /// Directory of the cgroup by which the tree was paused when it was found; empty: it wasn't.
  [[nodiscard]] std::string paused_by() const { return paused_ ? paused_->directory() : std::string(); }
  /// CLOCK_MONOTONIC in ns when the first thread was interrupted.
  [[nodiscard]] uint64_t began_ns() const { return began_ns_; }

  /// Throws Error if a task has been killed meanwhile (SIGKILL ends every stop): what was read of it last
  /// may have been its ruins. One system call a task.
  void check_all_stand() const;
  /// Lets everything go as it was found.
  void let_go();
  /// Lets everything go, stopped by SIGSTOP.
  void leave_stopped();
  /// Kills everything and waits until no thread is left. What remains of the root is a zombie, unless its
  /// parent has reaped it; of the others a zombie at most until whoever inherits them reaps it.
  void kill_all();
  /// After kill_all: gives whoever inherits the orphans a moment to reap them, so that their pids are free.
  void wait_until_reaped() const;

 private:
  struct Thread {
    pid_t pid;
    bool stopped = false;
    int stop_signal = 0;
  };

  void freeze();
  void thaw();
  bool discover();
  bool visit(FrozenTask& task);
  bool visit_thread(const FrozenTask& task, pid_t tid, bool only_thread);
  bool attach(pid_t pid, pid_t tid, bool in_group_stop, bool only_thread);
  bool seize_refused(pid_t pid, pid_t tid, int code);
  std::optional<pid_t> collect_stops(bool& changed);
  bool take_change(pid_t tid, Thread& thread, bool& changed);
  bool all_threads_stand();
  void forget_strangers();
  [[nodiscard]] std::vector<pid_t> pending() const;

  pid_t root_;
  const pid_t own_pid_ = ::getpid();
  bool suspend_seccomp_;
  uint64_t began_ns_ = 0;
  std::optional<PausedCgroup> paused_;
  std::vector<FrozenTask> tasks_;
  std::unique_ptr<Undertaker> undertaker_;     // of the threads that aren't leaders
  std::unordered_map<pid_t, Thread> threads_;  // seized, by tid
};

}  // namespace godwit
