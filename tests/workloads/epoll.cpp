// epoll with level, edge and one-shot watches, one in another, and a watch whose number has gone elsewhere;
// over eventfds, a timerfd and a signalfd.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <set>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

void watch(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

std::set<uint64_t> ready(int epoll) {
  epoll_event events[16];
  std::set<uint64_t> found;
  const int count = epoll_wait(epoll, events, 16, 0);
  for (int i = 0; i < count; ++i) {
    found.insert(events[i].data.u64);
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int inner = static_cast<int>(must(epoll_create1(EPOLL_CLOEXEC), "epoll"));
  const int outer = static_cast<int>(must(epoll_create1(0), "epoll"));
  const int semaphore = static_cast<int>(must(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK), "eventfd"));
  const int edge = static_cast<int>(must(eventfd(1, EFD_NONBLOCK), "eventfd"));
  const int once = static_cast<int>(must(eventfd(1, EFD_NONBLOCK), "eventfd"));
  const int timer = static_cast<int>(must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd"));
  const itimerspec far{{7, 0}, {3600, 0}};
  must(timerfd_settime(timer, 0, &far, nullptr), "settime");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  must(sigprocmask(SIG_BLOCK, &set, nullptr), "block");
  const int signals = static_cast<int>(must(signalfd(-1, &set, SFD_NONBLOCK), "signalfd"));
  watch(inner, semaphore, EPOLLIN, 1);
  watch(inner, edge, EPOLLIN | EPOLLET, 0xfedcba9876543210U);
  watch(inner, once, EPOLLIN | EPOLLONESHOT, 3);
  watch(inner, timer, EPOLLIN, 4);
  watch(inner, signals, EPOLLIN, 5);
  watch(outer, inner, EPOLLIN, 6);
  // A watch under a number that is free again by now.
  const int moved = static_cast<int>(must(eventfd(0, EFD_NONBLOCK), "eventfd"));
  watch(inner, moved, EPOLLIN, 7);
  const int kept = static_cast<int>(must(dup(moved), "dup"));
  must(close(moved), "close");

  say_ready();
  wait_to_go_on();
  check(ready(outer) == std::set<uint64_t>{6}, "the outer epoll sees the inner one");
  check(ready(inner) == std::set<uint64_t>({1, 3, 0xfedcba9876543210U}), "what was ready");
  check(ready(inner) == std::set<uint64_t>{1}, "only the level-triggered watch remains");
  must(kill(getpid(), SIGUSR1), "kill");
  check(eventfd_write(kept, 1) == 0, "write to what has moved");
  check(ready(inner) == std::set<uint64_t>({1, 5, 7}), "a signal, and what has moved");
  eventfd_t count = 0;
  check(eventfd_read(semaphore, &count) == 0 && count == 1, "a semaphore gives one at a time");
  signalfd_siginfo info{};
  check(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1, "the signal");
  itimerspec left{};
  check(timerfd_gettime(timer, &left) == 0 && left.it_interval.tv_sec == 7, "the timer's interval");
  check(left.it_value.tv_sec > 3000 && left.it_value.tv_sec < 3600, "the timer goes on");
  finish();
}
