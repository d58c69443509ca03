#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace godwit {

/// Collects threads that die while a tree is traced, from a thread of its own.
///
/// The end of a leader is told only after its other threads have been collected: who waits for a leader's
/// stop would wait for good when the task is killed meanwhile.
///
/// A thread that calls execve(2) ends all others of its process and waits until each has been collected,
/// which for a traced one is up to its tracer. Meanwhile it holds a lock (cred_guard_mutex) that PTRACE_SEIZE
/// of any of them waits for, in a way that no signal ends: the tracer and the process would wait for each
/// other for good, if nobody collected them here. See ptrace(2), "execve(2) under ptrace", and BUGS.
class Undertaker {
 public:
  Undertaker() = default;
  /// Collects no more after that.
  ~Undertaker();
  Undertaker(const Undertaker&) = delete;
  Undertaker& operator=(const Undertaker&) = delete;

  /// Before another thread of the same process is seized: `tid` is traced by this process, and isn't the
  /// leader, whom execve collects itself.
  void watch(pid_t tid);

 private:
  void work();

  std::mutex lock_;
  std::condition_variable wake_;
  std::vector<pid_t> watched_;
  bool ending_ = false;
  std::thread thread_;  // made when there is somebody to watch
};

}  // namespace godwit
