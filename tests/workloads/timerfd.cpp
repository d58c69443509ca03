// timerfds of every clock: how much is left, intervals, what has expired and not been read, absolute times,
// flags, and a reader that waits for one in another task.
#include <poll.h>
#include <sys/timerfd.h>

#include <iterator>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kHour = 3600 * kSecond;

struct Clock {
  clockid_t id;
  clockid_t telling;  // an alarm clock itself may not tell the time
  const char* name;
};
constexpr Clock kClocks[] = {{CLOCK_REALTIME, CLOCK_REALTIME, "CLOCK_REALTIME"},
                             {CLOCK_MONOTONIC, CLOCK_MONOTONIC, "CLOCK_MONOTONIC"},
                             {CLOCK_BOOTTIME, CLOCK_BOOTTIME, "CLOCK_BOOTTIME"},
                             {CLOCK_REALTIME_ALARM, CLOCK_REALTIME, "CLOCK_REALTIME_ALARM"},
                             {CLOCK_BOOTTIME_ALARM, CLOCK_BOOTTIME, "CLOCK_BOOTTIME_ALARM"}};
constexpr size_t kClockCount = std::size(kClocks);

timespec spec_of(uint64_t ns) {
  return {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
}

uint64_t ns_of(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

/// -1: nobody but a user with CAP_WAKE_ALARM may have this clock, and only if there is a clock that wakes.
int make(clockid_t clock, uint64_t first, uint64_t interval, int flags = 0) {
  const int fd = timerfd_create(clock, TFD_NONBLOCK);
  const bool alarm = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
  const itimerspec value{spec_of(interval), spec_of(first)};
  if (alarm && (fd < 0 || timerfd_settime(fd, flags, &value, nullptr) != 0)) {
    close(fd);
    return -1;
  }
  must(fd, "timerfd_create");
  must(timerfd_settime(fd, flags, &value, nullptr), "timerfd_settime");
  return fd;
}

uint64_t left_of(int fd) {
  itimerspec value{};
  check(timerfd_gettime(fd, &value) == 0, "timerfd_gettime");
  return ns_of(value.it_value);
}

void expect_between(uint64_t found, uint64_t least, uint64_t most, const char* what) {
  if (found < least || found > most) {
    fail("%s: %llu is not between %llu and %llu", what, static_cast<unsigned long long>(found),
         static_cast<unsigned long long>(least), static_cast<unsigned long long>(most));
  }
}

/// How often it has expired; 0: nothing to read.
uint64_t ticks_of(int fd) {
  uint64_t ticks = 0;
  const ssize_t got = read(fd, &ticks, sizeof ticks);
  check(got == sizeof ticks || (got < 0 && errno == EAGAIN), "read of a timerfd");
  return ticks;
}

void wait_for(int fd) {
  pollfd poll{fd, POLLIN, 0};
  must(::poll(&poll, 1, 10000) == 1 ? 0 : -1, "poll");
}

/// When an absolute timer will expire, by its clock.
uint64_t deadline_of(int fd, clockid_t clock) {
  return now_ns(clock) + left_of(fd);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  int relative[kClockCount];
  int absolute[kClockCount];
  uint64_t deadline[kClockCount];
  for (size_t i = 0; i < kClockCount; ++i) {
    relative[i] = make(kClocks[i].id, kHour + kSecond * i, 7 * kSecond + i);
    deadline[i] = now_ns(kClocks[i].telling) + 2 * kHour;
    absolute[i] = make(kClocks[i].id, deadline[i], 0, TFD_TIMER_ABSTIME);
  }
  const int cancelled =
      make(CLOCK_REALTIME, now_ns(CLOCK_REALTIME) + kHour, 0, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
  const int never = make(CLOCK_MONOTONIC, 0, 0);
  const int expired = make(CLOCK_MONOTONIC, 1, 0);
  const int expired_long_period = make(CLOCK_BOOTTIME, 1, kHour);
  const int read_already = make(CLOCK_MONOTONIC, 1, 0);
  const int far_past = make(CLOCK_REALTIME, 1, 0, TFD_TIMER_ABSTIME);
  const uint64_t ticking_since = now_ns();
  constexpr uint64_t kPeriod = kSecond / 50;
  const int ticking = make(CLOCK_MONOTONIC, kPeriod, kPeriod);
  const int grid = make(CLOCK_MONOTONIC, ticking_since + kPeriod, kPeriod, TFD_TIMER_ABSTIME);
  for (const int fd : {expired, expired_long_period, read_already, far_past, ticking, grid}) {
    wait_for(fd);
  }
  must(ticks_of(read_already) == 1 ? 0 : -1, "read");
  const int awaited = make(CLOCK_MONOTONIC, kHour, 0);
  must(fcntl(awaited, F_SETFL, 0), "F_SETFL");
  const pid_t reader = static_cast<pid_t>(must(fork(), "fork"));
  if (reader == 0) {
    check_equal(static_cast<long long>(ticks_of(awaited)), 1, "ticks that a reader waited for");
    finish_child();
  }
  wait_until_asleep(reader);

  pause_ms(60);  // so that several periods have passed, which nobody has asked about

  const uint64_t start = now_ns();
  say_ready();
  wait_to_go_on();
  const uint64_t passed = now_ns() - start + kSecond;
  for (size_t i = 0; i < kClockCount; ++i) {
    if (relative[i] < 0) {
      continue;
    }
    const uint64_t first = kHour + kSecond * i;
    expect_between(left_of(relative[i]), first - passed, first, kClocks[i].name);
    itimerspec value{};
    timerfd_gettime(relative[i], &value);
    const auto interval = static_cast<long long>(7 * kSecond) + static_cast<long long>(i);
    check_equal(static_cast<long long>(ns_of(value.it_interval)), interval, kClocks[i].name);
    // Other clocks may be set meanwhile, by a little.
    expect_between(deadline_of(absolute[i], kClocks[i].telling), deadline[i] - kSecond / 10,
                   deadline[i] + kSecond / 10, kClocks[i].name);
    check_equal(static_cast<long long>(ticks_of(relative[i])), 0, "ticks of what hasn't expired");
  }
  expect_between(left_of(cancelled), kHour - passed, kHour, "one that is cancelled when the clock is set");
  check(left_of(never) == 0 && ticks_of(never) == 0, "one that is disarmed");
  check_equal(static_cast<long long>(ticks_of(expired)), 1, "expired once, not read");
  check_equal(static_cast<long long>(ticks_of(expired)), 0, "expired once, read");
  check_equal(static_cast<long long>(ticks_of(expired_long_period)), 1, "expired once, and an hour to go");
  expect_between(left_of(expired_long_period), kHour - passed, kHour, "what is left of that hour");
  check(ticks_of(read_already) == 0 && left_of(read_already) == 0, "expired and read before");
  check_equal(static_cast<long long>(ticks_of(far_past)), 1, "a time long past");
  // The grid of an absolute timer has not moved: all that passed by the clock was counted, time that it
  // wasn't there for too. A relative one may have stood still meanwhile.
  const uint64_t most = (now_ns() - ticking_since) / kPeriod + 1;
  expect_between(ticks_of(ticking), 2, most, "ticks of a period");
  const uint64_t least_on_grid = (now_ns() - ticking_since) / kPeriod;
  const uint64_t on_grid = ticks_of(grid);
  expect_between(on_grid, least_on_grid, (now_ns() - ticking_since) / kPeriod,
                 "ticks of a period since a moment");
  pause_ms(60);
  expect_between(ticks_of(ticking), 2, 400, "ticks of a period that goes on");

  check(waitpid(reader, nullptr, WNOHANG) == 0, "who waited waits still");
  const itimerspec soon{{0, 0}, {0, 1000}};
  check(timerfd_settime(awaited, 0, &soon, nullptr) == 0, "arm for who waits");
  expect_end(reader);
  finish();
}
