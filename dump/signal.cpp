#include <linux/wait.h>
#include <sys/syscall.h>

#include <csignal>

#include "dump/collectors.h"
#include "kernel/ptrace.h"
#include "kernel/signal_action.h"

namespace godwit {

namespace {

constexpr int kSignals = 64;

void append(const std::vector<ptrace::SignalInfo>& from,
            google::protobuf::RepeatedPtrField<image::SignalInfo>& to) {
  for (const ptrace::SignalInfo& info : from) {
    to.Add()->set_siginfo(info.data(), info.size());
  }
}

}  // namespace

void collect_thread_signals(pid_t tid, image::Thread& record) {
  record.set_blocked_signals(ptrace::signal_mask(tid));
  append(ptrace::pending_signals(tid, false), *record.mutable_pending_signals());
}

void collect_process_signals(pid_t pid, image::Task& record) {
  append(ptrace::pending_signals(pid, true), *record.mutable_pending_signals());
}

void ask_signal_actions(ScriptBuilder& script, Answers& answers, image::Task& record) {
  const uint64_t actions = script.reserve(sizeof(KernelSigaction) * kSignals);
  for (int signal = 1; signal <= kSignals; ++signal) {
    const uint64_t at = actions + sizeof(KernelSigaction) * static_cast<uint64_t>(signal - 1);
    script.call("read signal actions", SYS_rt_sigaction, {signal, 0, at, 8});
  }
  answers.emplace_back([actions, &record](const ScriptBuilder& ran) {
    for (uint32_t signal = 1; signal <= kSignals; ++signal) {
      const auto action = ran.read<KernelSigaction>(actions + sizeof(KernelSigaction) * (signal - 1));
      if (action.handler == 0 && action.flags == 0) {
        continue;
      }
      image::SignalAction& entry = *record.mutable_signal_actions()->add_action();
      entry.set_signal(signal);
      entry.set_handler(action.handler);
      entry.set_flags(action.flags);
      entry.set_restorer(action.restorer);
      entry.set_mask(action.mask);
    }
  });
}

void ask_alternate_stack(ScriptBuilder& script, Answers& answers, image::Thread& record) {
  const uint64_t at = script.reserve(sizeof(stack_t));
  script.call("read the alternate signal stack", SYS_sigaltstack, {0, at});
  answers.emplace_back([at, &record](const ScriptBuilder& ran) {
    const auto stack = ran.read<stack_t>(at);
    if ((stack.ss_flags & SS_DISABLE) != 0) {
      return;
    }
    image::AlternateStack& entry = *record.mutable_alternate_stack();
    entry.set_address(reinterpret_cast<uint64_t>(stack.ss_sp));
    entry.set_size(stack.ss_size);
    // Whether the thread is on it now follows from its stack pointer.
    entry.set_flags(static_cast<uint32_t>(stack.ss_flags) & ~uint32_t{SS_ONSTACK});
  });
}

void ask_stop_reported(ScriptBuilder& script, Answers& answers, const image::Task& parent,
                       image::Task& child) {
  const uint64_t at = script.reserve(sizeof(siginfo_t));
  script.call("ask whether a child's stop has been reported", SYS_waitid,
              {P_PID, child.pid(parent.pid_size() - 1), at, WSTOPPED | WNOHANG | WNOWAIT | __WALL, 0});
  answers.emplace_back([at, &child](const ScriptBuilder& ran) {
    child.set_stop_reported(ran.read<siginfo_t>(at).si_pid == 0);
  });
}

}  // namespace godwit
