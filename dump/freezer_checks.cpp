#include "dump/freezer_checks.h"

#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <string>

#include "dump/backoff.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

/// How long the threads of a dead leader may live: when one of them calls execve(2), until the Undertaker has
/// collected the others.
constexpr uint64_t kLoneThreadLimit = 50'000'000;

/// Any thread but the leader is there and not dead.
bool has_living_threads(pid_t pid) {
  for (const pid_t tid : procfs::read_threads(pid)) {
    try {
      if (tid != pid && !dead(procfs::read_stat(pid, tid))) {
        return true;
      }
    } catch (const Error& e) {
      if (!procfs::gone(e)) {
        throw;
      }
    }
  }
  return false;
}

}  // namespace

bool dead(const procfs::Stat& stat) {
  return stat.state == 'Z' || stat.state == 'X';
}

bool waits_for_vfork_child(pid_t pid, pid_t tid) {
  try {
    if (procfs::read_stat(pid, tid).state != 'D') {
      return false;
    }
    // "number 0xargument0 ...": see proc_pid_syscall(5).
    const std::string text = read_file(fmt::format("/proc/{}/task/{}/syscall", pid, tid));
    long number = -1;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc()) {
      return false;
    }
    if (number == SYS_clone) {
      uint64_t flags = 0;
      const char* start = std::min(end + 3, text.data() + text.size());
      std::from_chars(start, text.data() + text.size(), flags, 16);
      return (flags & CLONE_VFORK) != 0;
    }
    return number == SYS_vfork || number == SYS_clone3;
  } catch (const Error&) {
    return false;
  }
}

bool exists(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

void refuse_lone_threads(pid_t pid) {
  const uint64_t start = monotonic_ns();
  for (Backoff backoff; has_living_threads(pid); backoff.rest()) {
    if (monotonic_ns() - start > kLoneThreadLimit) {
      throw refusal("task {} (a leader that has ended before its threads)", pid);
    }
  }
}

[[noreturn]] void refuse_ourselves(pid_t root) {
  throw error("process {} is godwit itself or one of its ancestors", root)
      .hint("run godwit from outside the tree that is to be dumped");
}

void check_root(pid_t root) {
  if (root <= 0) {
    throw error("{} is no process id", root);
  }
  if (root == 1 || root == ::getpid()) {
    refuse_ourselves(root);
  }
  try {
    if (const pid_t leader = procfs::read_status(root, root).thread_group; leader != root) {
      throw error("{} is a thread of process {}", root, leader).hint(fmt::format("dump {}", leader));
    }
    const procfs::Stat stat = procfs::read_stat(root);
    if ((stat.flags & procfs::kKernelThread) != 0) {
      throw error("process {} is a kernel thread", root);
    }
    if (stat.state == 'Z' && stat.threads <= 1) {
      throw error("process {} is a zombie", root);
    }
  } catch (const Error& e) {
    if (procfs::gone(e)) {
      throw error("there is no process {}", root);
    }
    throw;
  }
}

}  // namespace godwit
