// Monotonic clocks that go on from where they were, and what waits for moments on them: run in a time
// namespace whose clocks are far from the machine's, or restored under another boot.
#include <pthread.h>
#include <signal.h>
#include <sys/timerfd.h>

#include <iterator>

#include "tests/workloads/workload.h"

using namespace workload;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kHour = 3600 * kSecond;

struct Clock {
  clockid_t id;
  const char* name;
};
constexpr Clock kClocks[] = {{CLOCK_MONOTONIC, "CLOCK_MONOTONIC"}, {CLOCK_BOOTTIME, "CLOCK_BOOTTIME"}};
constexpr size_t kClockCount = std::size(kClocks);

timespec spec_of(uint64_t ns) {
  return {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
}

uint64_t ns_of(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

/// The system call itself, which asks no vdso.
uint64_t kernels_ns(clockid_t clock) {
  timespec now{};
  syscall(SYS_clock_gettime, clock, &now);
  return ns_of(now);
}

void expect_between(uint64_t found, uint64_t least, uint64_t most, const char* what) {
  if (found < least || found > most) {
    fail("%s: %llu is not between %llu and %llu", what, static_cast<unsigned long long>(found),
         static_cast<unsigned long long>(least), static_cast<unsigned long long>(most));
  }
}

int timerfd_at(clockid_t clock, uint64_t deadline) {
  const int fd = timerfd_create(clock, TFD_NONBLOCK);
  const itimerspec value{{0, 0}, spec_of(deadline)};
  must(timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, nullptr), "timerfd_settime");
  return fd;
}

timer_t timer_at(clockid_t clock, uint64_t deadline) {
  sigevent event{};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer = nullptr;
  must(timer_create(clock, &event, &timer), "timer_create");
  const itimerspec value{{0, 0}, spec_of(deadline)};
  must(timer_settime(timer, TIMER_ABSTIME, &value, nullptr), "timer_settime");
  return timer;
}

uint64_t due(int fd, clockid_t clock) {
  itimerspec value{};
  check(timerfd_gettime(fd, &value) == 0, "timerfd_gettime");
  return now_ns(clock) + ns_of(value.it_value);
}

/// The vdso tells the kernel's time.
void check_agreement(const Clock& clock) {
  const uint64_t before = kernels_ns(clock.id);
  const uint64_t by_vdso = now_ns(clock.id);
  expect_between(by_vdso, before, kernels_ns(clock.id), clock.name);
}

uint64_t seen_by_thread[kClockCount];

void* look_from_thread(void*) {
  for (size_t i = 0; i < kClockCount; ++i) {
    seen_by_thread[i] = now_ns(kClocks[i].id);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  constexpr uint64_t kNearly = kSecond / 10;
  uint64_t start[kClockCount];
  uint64_t deadline[kClockCount];
  int shared[kClockCount];
  int own[kClockCount];
  timer_t timer[kClockCount];
  pid_t sleeper[kClockCount];
  for (size_t i = 0; i < kClockCount; ++i) {
    start[i] = now_ns(kClocks[i].id);
    deadline[i] = start[i] + 2 * kHour;
    shared[i] = timerfd_at(kClocks[i].id, deadline[i]);
  }
  for (size_t i = 0; i < kClockCount; ++i) {
    sleeper[i] = static_cast<pid_t>(must(fork(), "fork"));
    if (sleeper[i] == 0) {
      const clockid_t clock = kClocks[i].id;
      const uint64_t until = now_ns(clock) + 2 * kSecond;
      const timespec when = spec_of(until);
      while (clock_nanosleep(clock, TIMER_ABSTIME, &when, nullptr) == EINTR) {
      }
      expect_between(now_ns(clock), until, until + kHour, "the end of a sleep up to a moment");
      wait_to_go_on();
      finish_child();
    }
    wait_until_asleep(sleeper[i]);
  }
  for (size_t i = 0; i < kClockCount; ++i) {
    own[i] = timerfd_at(kClocks[i].id, deadline[i]);
    timer[i] = timer_at(kClocks[i].id, deadline[i]);
    check_agreement(kClocks[i]);
  }
  say_ready();
  wait_to_go_on();

  pthread_t thread{};
  pthread_create(&thread, nullptr, look_from_thread, nullptr);
  pthread_join(thread, nullptr);
  for (size_t i = 0; i < kClockCount; ++i) {
    const Clock& clock = kClocks[i];
    const uint64_t now = now_ns(clock.id);
    expect_between(now, start[i], start[i] + kHour, clock.name);
    expect_between(seen_by_thread[i], start[i], now, clock.name);
    check_agreement(clock);
    expect_between(due(shared[i], clock.id), deadline[i] - kNearly, deadline[i] + kNearly,
                   "a shared timerfd");
    expect_between(due(own[i], clock.id), deadline[i] - kNearly, deadline[i] + kNearly, "a timerfd");
    itimerspec value{};
    timer_gettime(timer[i], &value);
    // A timer doesn't tell that it waits for a moment: it may be late by as long as a restore takes.
    expect_between(now + ns_of(value.it_value), deadline[i] - kNearly, deadline[i] + (now - start[i]),
                   "a POSIX timer");
    const pid_t child = fork();
    if (child == 0) {
      check_agreement(clock);
      expect_between(now_ns(clock.id), now, now + kHour, "the clock of a new child");
      finish_child();
    }
    expect_end(child);
    expect_end(sleeper[i]);
  }
  finish();
}
