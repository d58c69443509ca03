#pragma once

#include <sys/types.h>

#include <string>
#include <unordered_set>

namespace godwit {

/// The cgroup by which a tree is paused, as container runtimes do it (freezer.state of cgroups v1,
/// cgroup.freeze of v2; cgroups(7) and Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst). Its tasks
/// neither stop for a tracer nor run what is injected. So it is thawed as soon as all of them have been
/// interrupted, by which none gets to run, and paused again before they are let go.
class PausedCgroup {
 public:
  /// Looks whether the process is in one, or below. Throws Error.
  explicit PausedCgroup(pid_t process);

  [[nodiscard]] explicit operator bool() const { return !file_.empty(); }
  [[nodiscard]] const std::string& directory() const { return directory_; }
  /// Whether the thread is stopped by a signal besides. While it is paused by cgroups v1 PTRACE_SEIZE would
  /// wait for such a thread for good; it won't run either when it is resumed. Throws Error if the kernel
  /// doesn't tell.
  [[nodiscard]] bool holds_stopped(pid_t pid, pid_t tid) const;
  /// `interrupted`: all processes that must be, and may be, in it. Throws Error, also if there are others,
  /// which would run.
  void thaw(const std::unordered_set<pid_t>& interrupted);
  /// If it has been thawed. Warns if that fails.
  void pause() noexcept;

 private:
  void find(const std::string& directory, const std::string& top, bool unified);

  std::string directory_;
  std::string file_;  // by which it is paused; empty: there is none
  bool unified_ = false;
  bool thawed_ = false;
};

}  // namespace godwit
