#include "dump/freezer.h"

#include <sys/ptrace.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <unordered_set>

#include "dump/backoff.h"
#include "dump/freezer_checks.h"
#include "dump/interrupted_call.h"
#include "dump/undertaker.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/features.h"
#include "kernel/log.h"
#include "kernel/ptrace.h"

namespace godwit {

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
/// How long a thread may take to stop before one asks what keeps it.
constexpr uint64_t kPatience = 10 * kMillisecond;
/// How long a vfork parent is given, letting the tree run in between.
constexpr uint64_t kVforkLimit = 2000 * kMillisecond;
/// How long anything else may stay in an uninterruptible sleep.
constexpr uint64_t kStopLimit = 10'000 * kMillisecond;
/// How long killed orphans are given to be reaped by whoever inherits them.
constexpr uint64_t kReapLimit = 20 * kMillisecond;

}  // namespace

Freezer::Freezer(pid_t root) : root_(root), suspend_seccomp_(!hidden(Feature::SuspendSeccomp)) {
  check_root(root);
  try {
    paused_.emplace(root);
    freeze();
  } catch (...) {
    let_go();
    throw;
  }
}

Freezer::~Freezer() {
  try {
    let_go();
  } catch (const Error& e) {
    log::warning("{}", e.what());
  }
}

void Freezer::freeze() {
  began_ns_ = monotonic_ns();
  undertaker_ = std::make_unique<Undertaker>();
  for (bool changed = true; changed;) {
    check_cancelled();
    changed = discover();
    thaw();
    const std::optional<pid_t> in_vfork = collect_stops(changed);
    if (!in_vfork) {
      changed = changed || !all_threads_stand();
      continue;
    }
    // The child must run for its parent to come out of vfork: let all go, and try again.
    if (monotonic_ns() - began_ns_ > kVforkLimit) {
      throw refusal("task {}, which waits for its vfork child,", *in_vfork);
    }
    let_go();
    pause_ns(2 * kMillisecond);
    changed = true;
  }
  forget_strangers();
  for (FrozenTask& task : tasks_) {
    for (const pid_t tid : task.threads) {
      undo_interruption(tid);
      if (const auto found = threads_.find(tid); found != threads_.end() && found->second.stop_signal != 0) {
        task.stop_signal = found->second.stop_signal;
      }
    }
  }
}

/// Of a paused tree: all have been interrupted, and stop instead of running.
void Freezer::thaw() {
  if (!paused_ || !*paused_) {
    return;
  }
  std::unordered_set<pid_t> all;
  for (const FrozenTask& task : tasks_) {
    all.insert(task.pid());
  }
  paused_->thaw(all);
  if (PausedCgroup(root_)) {
    throw error("process {} is paused by more than one cgroup", root_).hint("resume the outer one first");
  }
}

/// Walks the tree from the root down and seizes what isn't yet. False: there was nothing new, so that the
/// tree is complete if it stood still before.
bool Freezer::discover() {
  bool changed = false;
  tasks_.clear();
  tasks_.emplace_back().stat.pid = root_;
  for (size_t i = 0; i < tasks_.size();) {
    try {
      FrozenTask task = std::move(tasks_[i]);
      changed = visit(task) || changed;
      tasks_[i] = std::move(task);
      ++i;
    } catch (const Error& e) {
      if (!procfs::gone(e)) {
        throw;
      }
      if (i == 0 && exists(root_)) {
        return true;  // another of its threads takes the leader's place, by execve(2)
      }
      if (i == 0) {
        throw error("process {} ended while it was being frozen", root_);
      }
      tasks_.erase(tasks_.begin() + static_cast<std::ptrdiff_t>(i));
      changed = true;
    }
  }
  return changed;
}

bool Freezer::visit(FrozenTask& task) {
  const pid_t pid = task.pid();
  bool changed = false;
  task.stat = procfs::read_stat(pid);
  if (dead(task.stat)) {
    if (task.stat.threads > 1) {
      refuse_lone_threads(pid);
    }
    if (pid == root_ && dead(procfs::read_stat(pid))) {
      throw error("process {} ended while it was being frozen", pid);
    }
    return pid == root_;  // else another of its threads has taken the leader's place, by execve(2)
  }
  const bool only_thread = task.stat.threads == 1;
  task.threads = only_thread ? std::vector<pid_t>{pid} : procfs::read_threads(pid);
  for (const pid_t tid : task.threads) {
    try {
      changed = visit_thread(task, tid, only_thread) || changed;
    } catch (const Error& e) {
      // A thread that ends here is no matter of its process, which the next look finds as it then is.
      if (only_thread || !procfs::gone(e)) {
        throw;
      }
      changed = true;
    }
  }
  // The dead, whose entries last a moment longer.
  std::erase_if(task.threads, [&](pid_t tid) { return tid != pid && !threads_.contains(tid); });
  return changed;
}

bool Freezer::visit_thread(const FrozenTask& task, pid_t tid, bool only_thread) {
  const pid_t pid = task.pid();
  bool changed = false;
  if (!threads_.contains(tid)) {
    changed = attach(pid, tid, task.stat.state == 'T', only_thread);
  }
  for (const pid_t child : procfs::read_children(pid, tid)) {
    if (child == own_pid_) {
      refuse_ourselves(root_);
    }
    FrozenTask& found = tasks_.emplace_back();
    found.stat.pid = child;
    found.parent = pid;
  }
  return changed;
}

/// Seizes and interrupts. False: the thread is dead and stays as it is.
bool Freezer::attach(pid_t pid, pid_t tid, bool in_group_stop, bool only_thread) {
  if (!only_thread) {
    // Workers of the kernel that share the process; they must be left alone.
    const procfs::Stat stat = procfs::read_stat(pid, tid);
    if ((stat.flags & (procfs::kIoWorker | procfs::kUserWorker)) != 0) {
      throw refusal("task {} (io_uring: worker thread {})", pid, tid);
    }
    if (dead(stat)) {
      return false;
    }
    in_group_stop = stat.state == 'T';
  }
  if (paused_ && paused_->holds_stopped(pid, tid)) {
    return true;  // to be looked at again when it isn't paused any more
  }
  const uint64_t options = PTRACE_O_TRACESYSGOOD | (suspend_seccomp_ ? PTRACE_O_SUSPEND_SECCOMP : 0);
  const int code = ptrace::seize(tid, options);
  if (code != 0) {
    return seize_refused(pid, tid, code);
  }
  threads_.emplace(tid, Thread{.pid = pid});
  if (tid != pid) {
    undertaker_->watch(tid);
  }
  // In a group stop the seizure alone makes the thread report; an interrupt might come after that report
  // and stop the thread once more when injected code is to run.
  if (!in_group_stop) {
    ptrace::interrupt(tid);
  }
  return true;
}

bool Freezer::seize_refused(pid_t pid, pid_t tid, int code) {
  if (code == ESRCH) {
    return true;
  }
  const procfs::Stat stat = procfs::read_stat(pid, tid);
  if (dead(stat)) {
    return true;
  }
  if ((stat.flags & procfs::kKernelThread) != 0) {
    throw error("process {} is a kernel thread", pid);
  }
  const pid_t tracer = procfs::read_status(pid, tid).tracer;
  if (tracer == own_pid_) {
    // By execve(2) one that we had seized has taken this number.
    threads_.emplace(tid, Thread{.pid = pid});
    ptrace::interrupt(tid);
    return true;
  }
  if (tracer != 0) {
    throw error("task {} is already traced by process {} ({})", pid, tracer, procfs::read_stat(tracer).comm)
        .hint("let that one detach first");
  }
  if (suspend_seccomp_) {
    // CAP_SYS_ADMIN is missing, or we are filtered ourselves.
    suspend_seccomp_ = false;
    return attach(pid, tid, stat.state == 'T', false);
  }
  throw Error(fmt::format("cannot trace task {}", pid), code, "CAP_SYS_PTRACE is needed for tasks of others");
}

std::vector<pid_t> Freezer::pending() const {
  std::vector<pid_t> tids;
  for (const auto& [tid, thread] : threads_) {
    if (!thread.stopped) {
      tids.push_back(tid);
    }
  }
  return tids;
}

/// Waits until every seized thread stands still. Returns a thread that doesn't because of vfork(2).
/// `changed` is set when threads have gone meanwhile.
std::optional<pid_t> Freezer::collect_stops(bool& changed) {
  std::vector<pid_t> waiting = pending();
  Backoff backoff;
  uint64_t started = 0;
  while (!waiting.empty()) {
    const size_t before = waiting.size();
    std::erase_if(waiting, [&](pid_t tid) { return take_change(tid, threads_.at(tid), changed); });
    if (waiting.size() < before) {
      continue;
    }
    check_cancelled();
    backoff.rest();
    const uint64_t now = monotonic_ns();
    started = started == 0 ? now : started;
    if (now - started < kPatience) {
      continue;
    }
    for (const pid_t tid : waiting) {
      if (waits_for_vfork_child(threads_.at(tid).pid, tid)) {
        return tid;
      }
      if (const pid_t pid = threads_.at(tid).pid; tid == pid && dead(procfs::read_stat(pid))) {
        refuse_lone_threads(pid);  // the kernel tells its tracer only when they have ended too
      }
      // A stopped one that was continued just before it was seized has not been interrupted yet.
      ptrace::interrupt(tid);
    }
    if (now - started > kStopLimit) {
      throw error("thread {} of task {} doesn't stop: it is in an uninterruptible sleep", waiting.front(),
                  threads_.at(waiting.front()).pid);
    }
  }
  return std::nullopt;
}

/// True: the thread needs no more waiting for.
bool Freezer::take_change(pid_t tid, Thread& thread, bool& changed) {
  const std::optional<ptrace::Change> change = ptrace::poll(tid);
  if (!change) {
    return false;
  }
  switch (change->kind) {
    case ptrace::Change::Kind::Interrupted:
      thread.stopped = true;
      return true;
    case ptrace::Change::Kind::GroupStop:
      thread.stopped = true;
      thread.stop_signal = change->signal;
      return true;
    case ptrace::Change::Kind::Signal:
      // It was dequeued already, so nobody would find it pending: it is delivered first. The stop has
      // consumed an interrupt that came before it.
      ptrace::resume(tid, change->signal);
      ptrace::interrupt(tid);
      return false;
    case ptrace::Change::Kind::Other:
      ptrace::resume(tid);
      ptrace::interrupt(tid);
      return false;
    case ptrace::Change::Kind::Gone:
      threads_.erase(tid);
      changed = true;
      return true;
  }
  return true;
}

/// What was seized but isn't of the tree: its parent died meanwhile, and it was inherited by another.
void Freezer::forget_strangers() {
  std::unordered_set<pid_t> ours;
  for (const FrozenTask& task : tasks_) {
    ours.insert(task.threads.begin(), task.threads.end());
  }
  std::erase_if(threads_, [&](const auto& entry) {
    if (ours.contains(entry.first)) {
      return false;
    }
    ptrace::detach(entry.first);
    return true;
  });
}

/// Of a process with several threads, one may have ended the others by execve(2), and taken the leader's
/// number, after those had stopped: what was seen of them is forgotten. False: there are such.
bool Freezer::all_threads_stand() {
  bool all = true;
  for (const FrozenTask& task : tasks_) {
    for (const pid_t tid : task.threads) {
      if (task.threads.size() > 1 && !ptrace::stands(tid)) {
        threads_.erase(tid);
        all = false;
      }
    }
  }
  return all;
}

void Freezer::check_all_stand() const {
  for (const FrozenTask& task : tasks_) {
    if (!task.zombie() && !ptrace::stands(task.pid())) {
      throw error("task {} was killed while it was being dumped", task.pid());
    }
  }
}

void Freezer::let_go() {
  if (paused_) {
    paused_->pause();
  }
  std::erase_if(threads_, [](const auto& entry) {
    if (entry.second.stopped) {
      ptrace::detach(entry.first);
    }
    return entry.second.stopped;
  });
  // Only a thread that stands still can be detached from. What doesn't come to a stop in time stays
  // seized until this process ends, which detaches too, and runs as before.
  const uint64_t start = monotonic_ns();
  Backoff backoff;
  while (!threads_.empty() && monotonic_ns() - start < 100 * kMillisecond) {
    for (const pid_t tid : pending()) {
      bool changed = false;
      if (take_change(tid, threads_.at(tid), changed) && !changed) {
        ptrace::detach(tid);
        threads_.erase(tid);
      }
    }
    backoff.rest();
  }
}

void Freezer::leave_stopped() {
  for (const FrozenTask& task : tasks_) {
    if (!task.zombie() && task.stop_signal == 0) {
      ::kill(task.pid(), SIGSTOP);
    }
  }
  let_go();
}

void Freezer::kill_all() {
  paused_.reset();  // nobody is left who could be paused again
  for (const FrozenTask& task : tasks_) {
    if (!task.zombie()) {
      ::kill(task.pid(), SIGKILL);
    }
  }
  // A leader's end is reported after that of all its threads, and that of the first process of a pid
  // namespace after all others there have been waited for.
  for (size_t t = tasks_.size(); t-- > 0;) {
    const FrozenTask& task = tasks_[t];
    for (size_t i = task.threads.size(); i-- > 0;) {
      while (ptrace::wait(task.threads[i]).kind != ptrace::Change::Kind::Gone) {
        ptrace::resume(task.threads[i]);
      }
    }
  }
  undertaker_.reset();
  threads_.clear();
}

void Freezer::wait_until_reaped() const {
  const uint64_t start = monotonic_ns();
  Backoff backoff;
  const auto left = [](const FrozenTask& task) { return task.parent != 0 && ::kill(task.pid(), 0) == 0; };
  while (std::any_of(tasks_.begin(), tasks_.end(), left) && monotonic_ns() - start < kReapLimit) {
    backoff.rest();
  }
}

}  // namespace godwit
