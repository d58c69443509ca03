#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <string>

#include "images-format/timerfd.pb.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"
#include "tests/unit/descriptor_kinds.h"

namespace godwit::testing {
namespace {

TEST_F(DescriptorKinds, EventFdsKeepCountAndKind) {
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::eventfd(7, EFD_SEMAPHORE | EFD_NONBLOCK) == 3);
                  REQUIRE(::eventfd(5, EFD_CLOEXEC) == 4);
                  REQUIRE(::eventfd_write(4, uint64_t{1} << 40) == 0);
                },
                [] {
                  eventfd_t count = 0;
                  REQUIRE(::eventfd_read(3, &count) == 0 && count == 1);
                  REQUIRE(::eventfd_read(4, &count) == 0 && count == (uint64_t{1} << 40) + 5);
                  REQUIRE((::fcntl(3, F_GETFL) & O_NONBLOCK) != 0 && ::fcntl(4, F_GETFD) == FD_CLOEXEC);
                }),
            "");
}

TEST_F(DescriptorKinds, TimerFdsGoOn) {
  static timespec deadline;
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == 3);
                  const itimerspec hour{{60, 0}, {3600, 0}};
                  REQUIRE(::timerfd_settime(3, 0, &hour, nullptr) == 0);
                  REQUIRE(::timerfd_create(CLOCK_REALTIME, 0) == 4);
                  itimerspec absolute{{0, 0}, {4102444800, 5}};  // the year 2100
                  REQUIRE(::timerfd_settime(4, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &absolute,
                                            nullptr) == 0);
                  REQUIRE(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK) == 5);
                  const itimerspec soon{{0, 0}, {0, 1}};
                  REQUIRE(::timerfd_settime(5, 0, &soon, nullptr) == 0);
                  pollfd poll{5, POLLIN, 0};
                  REQUIRE(::poll(&poll, 1, 1000) == 1);
                  REQUIRE(::timerfd_create(CLOCK_MONOTONIC, 0) == 6);
                  const itimerspec often{{3600, 0}, {0, 1}};
                  REQUIRE(::timerfd_settime(6, 0, &often, nullptr) == 0);
                  poll.fd = 6;
                  REQUIRE(::poll(&poll, 1, 1000) == 1);
                },
                [] {
                  itimerspec value{};
                  uint64_t ticks = 0;
                  REQUIRE(::timerfd_gettime(3, &value) == 0 && value.it_interval.tv_sec == 60);
                  REQUIRE(value.it_value.tv_sec >= 3590 && value.it_value.tv_sec < 3600);
                  REQUIRE(::read(3, &ticks, sizeof ticks) < 0 && errno == EAGAIN);
                  REQUIRE(::timerfd_gettime(4, &value) == 0);
                  REQUIRE(::clock_gettime(CLOCK_REALTIME, &deadline) == 0);
                  const int64_t off = deadline.tv_sec + value.it_value.tv_sec - 4102444800;
                  REQUIRE(off >= -1 && off <= 0);
                  REQUIRE(::timerfd_gettime(5, &value) == 0 && value.it_value.tv_sec == 0);
                  REQUIRE(::read(5, &ticks, sizeof ticks) == sizeof ticks && ticks == 1);
                  REQUIRE(::read(6, &ticks, sizeof ticks) == sizeof ticks && ticks == 1);
                  REQUIRE(::timerfd_gettime(6, &value) == 0 && value.it_value.tv_sec >= 3590);
                }),
            "");
}

/// It expires in the moment between the setting of its time and that of its ticks.
TEST_F(DescriptorKinds, ATimerFdThatIsAboutToExpireLosesNoTick) {
  const Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  ASSERT_TRUE(timer);
  image::TimerFd record;
  record.set_clock(CLOCK_MONOTONIC);
  record.set_ticks(5);
  record.set_remaining_ns(1);
  record.set_interval_ns(uint64_t{1000} * 1'000'000'000);
  ASSERT_NE(making::kTimerFd.conclude, nullptr);
  ASSERT_TRUE(making::kTimerFd.concludes(record));
  const making::PidNow same = [](pid_t pid) { return pid; };
  const std::function<Fd(uint32_t)> no_files;
  making::kTimerFd.conclude(record, {timer.get(), {}, same, no_files});
  uint64_t ticks = 0;
  ASSERT_EQ(::read(timer.get(), &ticks, sizeof ticks), ssize_t{sizeof ticks});
  EXPECT_EQ(ticks, 6U);
  itimerspec value{};
  ASSERT_EQ(::timerfd_gettime(timer.get(), &value), 0);
  EXPECT_EQ(value.it_interval.tv_sec, 1000);
  EXPECT_GE(value.it_value.tv_sec, 990);
}

TEST_F(DescriptorKinds, SignalFdsKeepTheirMask) {
  EXPECT_EQ(round_trip(
                [] {
                  sigset_t set;
                  sigemptyset(&set);
                  sigaddset(&set, SIGUSR2);
                  REQUIRE(::signalfd(-1, &set, SFD_NONBLOCK) == 3);
                },
                [] {
                  sigset_t set;
                  sigemptyset(&set);
                  sigaddset(&set, SIGUSR1);
                  sigaddset(&set, SIGUSR2);
                  REQUIRE(::sigprocmask(SIG_BLOCK, &set, nullptr) == 0);
                  REQUIRE(::raise(SIGUSR1) == 0 && ::raise(SIGUSR2) == 0);
                  signalfd_siginfo info{};
                  REQUIRE(::read(3, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2);
                  REQUIRE(::read(3, &info, sizeof info) < 0 && errno == EAGAIN);
                }),
            "");
}

epoll_event watch(uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return event;
}

TEST_F(DescriptorKinds, EpollsKeepTheirWatches) {
  EXPECT_EQ(round_trip(
                [] {
                  REQUIRE(::epoll_create1(EPOLL_CLOEXEC) == 3);
                  REQUIRE(::eventfd(1, 0) == 4 && ::eventfd(1, 0) == 5 && ::eventfd(0, 0) == 6);
                  epoll_event a = watch(EPOLLIN | EPOLLET, 0xaaaabbbbccccddddU);
                  epoll_event b = watch(EPOLLIN | EPOLLONESHOT, 5);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 4, &a) == 0);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 5, &b) == 0);
                  // A watch under number 6 of what is number 8 by now, and another under the same number.
                  epoll_event c = watch(EPOLLIN, 6);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 6, &c) == 0);
                  REQUIRE(::dup2(6, 8) == 8 && ::close(6) == 0 && ::eventfd(0, EFD_CLOEXEC) == 6);
                  epoll_event d = watch(EPOLLIN, 66);
                  REQUIRE(::epoll_ctl(3, EPOLL_CTL_ADD, 6, &d) == 0);
                  REQUIRE(::epoll_create1(0) == 7);
                  epoll_event nested = watch(EPOLLIN, 33);
                  REQUIRE(::epoll_ctl(7, EPOLL_CTL_ADD, 3, &nested) == 0);
                },
                [] {
                  std::array<epoll_event, 8> events{};
                  REQUIRE(::epoll_wait(7, events.data(), 8, 0) == 1 && events[0].data.u64 == 33);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 2);
                  REQUIRE(events[0].data.u64 + events[1].data.u64 == 0xaaaabbbbccccddddU + 5);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 0);
                  REQUIRE(::fcntl(6, F_GETFD) == FD_CLOEXEC);
                  REQUIRE(::eventfd_write(6, 1) == 0);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 1 && events[0].data.u64 == 66);
                  REQUIRE(::eventfd_write(8, 1) == 0);
                  REQUIRE(::epoll_wait(3, events.data(), 8, 0) == 2);
                }),
            "");
}

}  // namespace
}  // namespace godwit::testing
