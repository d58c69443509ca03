#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "kernel/error.h"
#include "kernel/features.h"
#include "restore/state.h"

namespace godwit {

namespace {

constexpr int kPrTimerCreateRestoreIds = 77;
constexpr uint64_t kBillion = 1'000'000'000;
constexpr uint64_t kMillion = 1'000'000;

timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / kBillion), static_cast<long>(ns % kBillion)};
}

timeval to_timeval(uint64_t us) {
  return {static_cast<time_t>(us / kMillion), static_cast<suseconds_t>(us % kMillion)};
}

/// The kernel's struct sigevent: value, signal, notify, thread.
struct Event {
  uint64_t value;
  int32_t signal;
  int32_t notify;
  int32_t thread;
  std::array<int32_t, 11> padding;
};
static_assert(sizeof(Event) == 64);

/// Without the prctl the kernel hands out ids in ascending order: timers are made and deleted until the
/// wanted one comes. Ids of a fresh process begin at 0.
void emit_ids_up_to(ScriptBuilder& script, int& next, int wanted, uint64_t event, uint64_t id) {
  constexpr int kWorthCounting = 10000;
  if (wanted - next > kWorthCounting) {
    throw error("POSIX timer {}: this kernel can't make a timer with that number", wanted);
  }
  for (; next < wanted; ++next) {
    script.call("make a POSIX timer", SYS_timer_create, {CLOCK_MONOTONIC, event, id});
    script.call("delete a POSIX timer", SYS_timer_delete, {next});
  }
  ++next;
}

/// What a thread of the task is called in its own pid namespace.
pid_t inside(const image::Task& task, pid_t tid) {
  for (const auto& thread : task.threads()) {
    if (thread.tid(0) == tid) {
      return thread.tid(thread.tid_size() - 1);
    }
  }
  return tid;
}

}  // namespace

void emit_timers(ScriptBuilder& script, const image::Task& task) {
  if (task.posix_timers_size() > 0) {
    const bool by_id = has(Feature::PosixTimerRestoreIds);
    const uint64_t id = script.reserve(sizeof(int));
    const uint64_t silent = script.object(Event{0, 0, SIGEV_NONE, 0, {}});
    int next = 0;
    if (by_id) {
      script.call("ask for timer ids", SYS_prctl, {kPrTimerCreateRestoreIds, 1, 0, 0, 0});
    }
    std::vector<const image::PosixTimer*> timers;
    for (const auto& timer : task.posix_timers()) {
      timers.push_back(&timer);
    }
    std::sort(timers.begin(), timers.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });
    for (const image::PosixTimer* timer : timers) {
      if (by_id) {
        script.store(id, timer->id());
      } else {
        emit_ids_up_to(script, next, timer->id(), silent, id);
      }
      const uint64_t event = script.object(
          Event{timer->value(), timer->signal(), timer->notify(), inside(task, timer->thread()), {}});
      script.call("make a POSIX timer", SYS_timer_create, {timer->clock(), event, id});
      if (timer->remaining_ns() != 0) {
        const itimerspec setting{to_timespec(timer->interval_ns()), to_timespec(timer->remaining_ns())};
        script.call("set a POSIX timer", SYS_timer_settime, {timer->id(), 0, script.object(setting), 0});
      }
    }
    if (by_id) {
      script.call("no longer ask for timer ids", SYS_prctl, {kPrTimerCreateRestoreIds, 0, 0, 0, 0});
    }
  }
  for (const auto& timer : task.interval_timers()) {
    const itimerval setting{to_timeval(timer.interval_us()), to_timeval(timer.remaining_us())};
    script.call("set an interval timer", SYS_setitimer, {timer.which(), script.object(setting), 0});
  }
}

}  // namespace godwit
