#include "restore/tracees.h"

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/procfs.h"
#include "kernel/ptrace.h"

namespace godwit {

namespace {

using ptrace::Change;

/// Suspending seccomp needs CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE: only threads with seccomp ask for
/// it.
uint64_t options(const image::Thread& thread) {
  const bool suspend = thread.has_seccomp() && thread.seccomp().mode() != image::Seccomp::NONE;
  return PTRACE_O_TRACESYSGOOD | (suspend ? PTRACE_O_SUSPEND_SECCOMP : 0);
}

pid_t leader(const image::Task& task) {
  return task.pid(0);
}

template <typename Visit>
void for_each_thread(const std::vector<const image::Task*>& tasks, Visit visit) {
  for (const image::Task* task : tasks) {
    for (const auto& thread : task->threads()) {
      visit(*task, thread);
    }
  }
}

void resume_to_syscall(pid_t tid) {
  if (::ptrace(PTRACE_SYSCALL, tid, nullptr, nullptr) != 0) {
    throw errno_error("cannot resume thread {}", tid);
  }
}

bool has_lost_a_thread(const image::Task& task) {
  return std::any_of(task.threads().begin(), task.threads().end(), [&](const image::Thread& thread) {
    return thread.tid(0) != leader(task) && ptrace::has_ended(thread.tid(0));
  });
}

/// Doesn't wait in the kernel: the end of a leader is told only after its other threads have been collected.
Change next_change(const image::Task& task, pid_t tid) {
  constexpr int kYields = 200;  // a stop takes some ten microseconds
  constexpr timespec kPause{0, 200'000};
  for (int round = 0;; ++round) {
    if (const auto change = ptrace::poll(tid)) {
      return *change;
    }
    check_cancelled();
    if (round < kYields) {
      ::sched_yield();
    } else if (has_lost_a_thread(task)) {
      return {};
    } else {
      ::nanosleep(&kPause, nullptr);
    }
  }
}

void expect(const image::Task& task, pid_t tid, Change::Kind kind) {
  const Change change = next_change(task, tid);
  if (change.kind != kind) {
    throw Error(fmt::format("thread {} of task {} has {}", tid, leader(task),
                            change.kind == Change::Kind::Gone ? "died while it was being restored"
                                                              : "stopped for an unknown reason"));
  }
}

/// The leader waits in the region's engine, behind a `syscall` instruction. That very instruction unmaps the
/// region, itself included: the thread is caught before it returns to user mode, where nothing is left.
void start_unmapping(const image::Task& task, const Region& region) {
  user_regs_struct registers = ptrace::registers(leader(task));
  registers.rip -= 2;
  registers.rax = SYS_munmap;
  registers.orig_rax = ~0ULL;
  registers.rdi = region.engine();
  registers.rsi = region.end() - region.engine();
  ptrace::set_registers(leader(task), registers);
  resume_to_syscall(leader(task));
}

void set_registers(const image::Thread& thread) {
  user_regs_struct general{};
  static_assert(sizeof general == 27 * sizeof(uint64_t));
  std::memcpy(&general, thread.registers().general().data(), sizeof general);
  ptrace::set_xsave(thread.tid(0), std::as_bytes(std::span(thread.registers().xsave())));
  ptrace::set_registers(thread.tid(0), general);
}

/// Then whoever waits for it collects it.
bool is_our_child(pid_t pid) {
  return procfs::read_stat(pid).parent == ::getpid();
}

}  // namespace

void seize_task(const image::Task& task) {
  for (const auto& thread : task.threads()) {
    // One thread that is killed takes all with it.
    const bool first = thread.tid(0) == leader(task);
    const int code = ptrace::seize(thread.tid(0), options(thread) | (first ? PTRACE_O_EXITKILL : 0));
    if (code != 0) {
      throw Error(fmt::format("cannot trace thread {} of task {}", thread.tid(0), leader(task)), code);
    }
  }
}

void bring_home(const std::vector<const image::Task*>& tasks, const Region& region) {
  for_each_thread(tasks,
                  [](const image::Task&, const image::Thread& thread) { ptrace::interrupt(thread.tid(0)); });
  for_each_thread(tasks, [](const image::Task& task, const image::Thread& thread) {
    expect(task, thread.tid(0), Change::Kind::Interrupted);
  });
  for (const image::Task* task : tasks) {
    start_unmapping(*task, region);
  }
  for (const image::Task* task : tasks) {
    expect(*task, leader(*task), Change::Kind::Other);  // at the entry of munmap
    ptrace::interrupt(leader(*task));
    ptrace::resume(leader(*task));
  }
  for (const image::Task* task : tasks) {
    expect(*task, leader(*task), Change::Kind::Interrupted);
    if (ptrace::registers(leader(*task)).rax != 0) {
      throw error("task {}: cannot unmap the restorer", leader(*task));
    }
  }
  for_each_thread(tasks, [](const image::Task&, const image::Thread& thread) { set_registers(thread); });
}

void stop_task(const image::Task& task, int signal) {
  // All signals are blocked still, so that nothing but the stop happens. The leader takes SIGSTOP, which none
  // can block, as the signal that is wanted, and only then do the others move, straight into the group stop.
  ::syscall(SYS_tgkill, leader(task), leader(task), SIGSTOP);
  ptrace::resume(leader(task));
  expect(task, leader(task), Change::Kind::Signal);
  ptrace::set_signal_mask(leader(task), ~(uint64_t{1} << (signal - 1)));
  ptrace::resume(leader(task), signal);
  for (const auto& thread : task.threads()) {
    if (thread.tid(0) != leader(task)) {
      ptrace::resume(thread.tid(0));
    }
  }
  for (const auto& thread : task.threads()) {
    expect(task, thread.tid(0), Change::Kind::GroupStop);
  }
}

void set_signal_masks(const image::Task& task) {
  for (const auto& thread : task.threads()) {
    ptrace::set_signal_mask(thread.tid(0), thread.blocked_signals());
  }
}

void let_go(const std::vector<const image::Task*>& tasks) {
  for (const image::Task* task : tasks) {
    ptrace::set_options(leader(*task), 0);
  }
  std::vector<pid_t> killed;
  for_each_thread(tasks, [&](const image::Task&, const image::Thread& thread) {
    if (!ptrace::detach(thread.tid(0))) {
      killed.push_back(thread.tid(0));
    }
  });
  if (killed.empty()) {
    return;
  }
  // Their ends are told to their parents only when their tracer has collected them, leaders last.
  for (const bool leaders : {false, true}) {
    for_each_thread(tasks, [&](const image::Task& task, const image::Thread& thread) {
      const pid_t tid = thread.tid(0);
      const bool collect =
          (tid == leader(task)) == leaders && std::find(killed.begin(), killed.end(), tid) != killed.end();
      if (collect && !(leaders && is_our_child(tid))) {
        (void)ptrace::wait(tid);
      }
    });
  }
}

}  // namespace godwit
