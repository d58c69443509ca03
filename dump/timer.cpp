#include <linux/time_types.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstring>

#include "dump/collectors.h"
#include "kernel/log.h"

namespace godwit {

namespace {

// The kernel's own structures, whatever libc makes of them.
struct KernelIntervalTimer {
  int64_t interval_seconds;
  int64_t interval_microseconds;
  int64_t value_seconds;
  int64_t value_microseconds;
};
struct KernelPosixTimer {
  int64_t interval_seconds;
  int64_t interval_nanoseconds;
  int64_t value_seconds;
  int64_t value_nanoseconds;
};
constexpr uint32_t kIntervalTimers = 3;

uint64_t joined(int64_t seconds, int64_t rest, int64_t a_second) {
  return static_cast<uint64_t>(seconds * a_second + rest);
}

siginfo_t decoded(const image::SignalInfo& record) {
  siginfo_t info{};
  std::memcpy(&info, record.siginfo().data(), std::min(sizeof(info), record.siginfo().size()));
  return info;
}

void settle(image::Task& record, const siginfo_t& info) {
  if (info.si_code == SI_TIMER) {
    for (image::PosixTimer& timer : *record.mutable_posix_timers()) {
      if (timer.id() == info.si_timerid && timer.interval_ns() == 0) {
        timer.set_remaining_ns(0);
      }
    }
  } else if (info.si_code == SI_KERNEL && info.si_signo == SIGALRM) {
    auto& timers = *record.mutable_interval_timers();
    for (int i = timers.size(); i-- > 0;) {
      if (timers[i].which() == 0 && timers[i].interval_us() == 0) {
        timers.DeleteSubrange(i, 1);
      }
    }
  }
}

}  // namespace

void ask_interval_timers(ScriptBuilder& script, Answers& answers, image::Task& record) {
  const uint64_t timers = script.reserve(sizeof(KernelIntervalTimer) * kIntervalTimers);
  for (uint32_t which = 0; which < kIntervalTimers; ++which) {
    script.call("read interval timers", SYS_getitimer, {which, timers + sizeof(KernelIntervalTimer) * which});
  }
  answers.emplace_back([timers, &record](const ScriptBuilder& ran) {
    for (uint32_t which = 0; which < kIntervalTimers; ++which) {
      const auto timer = ran.read<KernelIntervalTimer>(timers + sizeof(KernelIntervalTimer) * which);
      const uint64_t interval = joined(timer.interval_seconds, timer.interval_microseconds, 1'000'000);
      const uint64_t remaining = joined(timer.value_seconds, timer.value_microseconds, 1'000'000);
      if (remaining != 0 || interval != 0) {
        image::IntervalTimer& entry = *record.add_interval_timers();
        entry.set_which(which);
        // A periodic ITIMER_REAL whose signal waits to be taken shows nothing remaining: the kernel arms it
        // again when the signal is taken (dequeue_signal).
        entry.set_remaining_us(remaining != 0 ? remaining : interval);
        entry.set_interval_us(interval);
      }
    }
  });
}

void ask_posix_timers(const std::vector<procfs::Timer>& timers, ScriptBuilder& script, Answers& answers,
                      image::Task& record) {
  for (const procfs::Timer& timer : timers) {
    // The kernel shows the clock of "the thread that made it", but not which thread that was.
    constexpr int kOwnThread = -2;
    if (timer.clock == kOwnThread && record.threads_size() > 1) {
      log::warning(
          "POSIX timer {} counts the CPU time of the thread that made it; after a restore, the leader's",
          timer.id);
    }
    const uint64_t at = script.reserve(sizeof(KernelPosixTimer));
    script.call("read POSIX timers", SYS_timer_gettime, {timer.id, at});
    const OpIndex overrun = script.call("read POSIX timers", SYS_timer_getoverrun, {timer.id});
    answers.emplace_back([timer, at, overrun, &record](const ScriptBuilder& ran) {
      const auto setting = ran.read<KernelPosixTimer>(at);
      image::PosixTimer& entry = *record.add_posix_timers();
      entry.set_id(timer.id);
      entry.set_clock(timer.clock);
      entry.set_notify(timer.notify);
      entry.set_signal(timer.signal);
      entry.set_value(timer.value);
      entry.set_thread(timer.notify == SIGEV_THREAD_ID ? timer.target : 0);
      entry.set_remaining_ns(joined(setting.value_seconds, setting.value_nanoseconds, 1'000'000'000));
      entry.set_interval_ns(joined(setting.interval_seconds, setting.interval_nanoseconds, 1'000'000'000));
      entry.set_overrun(static_cast<int32_t>(ran.result(overrun)));
    });
  }
}

void settle_expired_timers(image::Task& record) {
  if (record.posix_timers().empty() && record.interval_timers().empty()) {
    return;
  }
  for (const image::SignalInfo& pending : record.pending_signals()) {
    settle(record, decoded(pending));
  }
  for (const image::Thread& thread : record.threads()) {
    for (const image::SignalInfo& pending : thread.pending_signals()) {
      settle(record, decoded(pending));
    }
  }
}

}  // namespace godwit
