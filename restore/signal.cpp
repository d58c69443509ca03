#include <sys/syscall.h>

#include <csignal>
#include <set>

#include "kernel/signal_action.h"
#include "restore/state.h"

namespace godwit {

namespace {

constexpr size_t kSiginfoBytes = 128;

}  // namespace

void emit_signal_actions(ScriptBuilder& script, const image::Task& task, const Baseline& baseline) {
  uint64_t listed = 0;
  for (const auto& action : task.signal_actions().action()) {
    const KernelSigaction kernel{action.handler(), action.flags(), action.restorer(), action.mask()};
    script.call("set a signal action", SYS_rt_sigaction,
                {action.signal(), script.object(kernel), 0, sizeof(uint64_t)});
    listed |= uint64_t{1} << (action.signal() - 1);
  }
  // Children inherit what the coordinator ignores; and SIGCHLD was set up for the time of building.
  const KernelSigaction by_default{};
  for (int signal = 1; signal <= 64; ++signal) {
    const uint64_t bit = uint64_t{1} << (signal - 1);
    if ((listed & bit) == 0 && (signal == SIGCHLD || (baseline.status.ignored & bit) != 0)) {
      script.call("set a signal action", SYS_rt_sigaction,
                  {signal, script.object(by_default), 0, sizeof(uint64_t)});
    }
  }
}

void emit_pending_signals(ScriptBuilder& script, const image::Task& task, const image::Thread& thread,
                          bool leader) {
  // As they are called in their own pid namespace.
  const pid_t pid = task.pid(task.pid_size() - 1);
  const pid_t tid = thread.tid(thread.tid_size() - 1);
  const auto queue = [&](const image::SignalInfo& pending, bool of_process) {
    std::array<std::byte, kSiginfoBytes> info{};
    std::memcpy(info.data(), pending.siginfo().data(), std::min(pending.siginfo().size(), info.size()));
    int signal = 0;
    std::memcpy(&signal, info.data(), sizeof signal);
    const uint64_t address = script.bytes(info);
    if (of_process) {
      script.call("queue a pending signal", SYS_rt_sigqueueinfo, {pid, signal, address});
    } else {
      script.call("queue a pending signal", SYS_rt_tgsigqueueinfo, {pid, tid, signal, address});
    }
  };
  for (const auto& pending : thread.pending_signals()) {
    queue(pending, false);
  }
  if (leader) {
    for (const auto& pending : task.pending_signals()) {
      queue(pending, true);
    }
  }
}

}  // namespace godwit
