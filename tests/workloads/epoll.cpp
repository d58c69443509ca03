// epoll with level, edge, exclusive and one-shot watches, armed and fired; one in another, three deep;
// watches whose number has gone elsewhere, or has been taken by another; a task that waits in one; over
// eventfds, a pipe, a timerfd and a signalfd.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include <set>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr uint64_t kEdge = 0xfedcba9876543210U;

void control(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  must(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

void watch(int epoll, int fd, uint32_t events, uint64_t data) {
  control(epoll, EPOLL_CTL_ADD, fd, events, data);
}

int make_eventfd(unsigned count, int flags = 0) {
  return static_cast<int>(must(eventfd(count, flags | EFD_NONBLOCK), "eventfd"));
}

int make_epoll(int flags = 0) {
  return static_cast<int>(must(epoll_create1(flags), "epoll"));
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

using Data = std::set<uint64_t>;

/// Watches that have been one-shot and have fired say nothing until they are armed again.
class Fired {
 public:
  Fired() {
    watch(epoll_, event_, EPOLLIN | EPOLLONESHOT, 11);
    watch(epoll_, pipe_reader_, EPOLLIN | EPOLLONESHOT | EPOLLET, 12);
    must(write_text(pipe_writer_, "x") ? 0 : -1, "write");
    must(ready(epoll_) == Data({11, 12}) ? 0 : -1, "the first report of one-shot watches");
    watch(epoll_, pipe_writer_, EPOLLOUT | EPOLLONESHOT, 13);
  }

  void verify() {
    check(ready(epoll_) == Data{13}, "of one-shot watches only the armed one speaks");
    check(ready(epoll_).empty(), "and only once");
    check(eventfd_write(event_, 1) == 0 && write_text(pipe_writer_, "y"), "writing");
    check(ready(epoll_).empty(), "news of what has fired");
    control(epoll_, EPOLL_CTL_MOD, event_, EPOLLIN | EPOLLONESHOT, 21);
    control(epoll_, EPOLL_CTL_MOD, pipe_reader_, EPOLLIN, 22);
    check(ready(epoll_) == Data({21, 22}), "armed again");
    check(ready(epoll_) == Data{22}, "armed again, for ever");
  }

 private:
  static std::pair<int, int> make_pipe() {
    int ends[2];
    must(pipe2(ends, O_NONBLOCK), "pipe2");
    return {ends[0], ends[1]};
  }

  int epoll_ = make_epoll();
  int event_ = make_eventfd(1);
  std::pair<int, int> pipe_ = make_pipe();
  int pipe_reader_ = pipe_.first;
  int pipe_writer_ = pipe_.second;
};

/// A watch is of a number and a description: the number may be free by now, or lead elsewhere.
class Moved {
 public:
  Moved() {
    const int moved = make_eventfd(0);
    watch(epoll_, moved, EPOLLIN, 31);
    kept_ = static_cast<int>(must(dup(moved), "dup"));
    must(close(moved), "close");
    taken_ = make_eventfd(0);
    watch(epoll_, taken_, EPOLLIN, 32);
    const int before = static_cast<int>(must(dup(taken_), "dup"));
    must(dup3(before, 200, O_CLOEXEC), "dup3");
    close(before);
    must(close(taken_), "close");
    const int now = make_eventfd(0, EFD_CLOEXEC);
    must(now == taken_ ? 0 : -1, "the number is taken again");
    watch(epoll_, taken_, EPOLLIN, 33);
    // One description under two numbers, and its watches.
    twice_ = make_eventfd(0);
    other_ = static_cast<int>(must(dup(twice_), "dup"));
    watch(epoll_, twice_, EPOLLIN, 34);
    watch(epoll_, other_, EPOLLIN, 35);
  }

  void verify() {
    check(ready(epoll_).empty(), "nothing has happened yet");
    check(eventfd_write(kept_, 1) == 0 && ready(epoll_) == Data{31}, "a number that is free");
    check(eventfd_write(200, 1) == 0 && ready(epoll_) == Data({31, 32}), "a number that another has");
    check(eventfd_write(taken_, 1) == 0 && ready(epoll_) == Data({31, 32, 33}), "that other");
    check(eventfd_write(twice_, 1) == 0 && ready(epoll_) == Data({31, 32, 33, 34, 35}), "two of one");
    check(epoll_ctl(epoll_, EPOLL_CTL_DEL, other_, nullptr) == 0 && close(other_) == 0, "remove one");
    check(ready(epoll_) == Data({31, 32, 33, 34}), "one of two");
  }

 private:
  int epoll_ = make_epoll();
  int kept_ = -1;
  int taken_ = -1;
  int twice_ = -1;
  int other_ = -1;
};

pid_t child_that_waits(int epoll) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    epoll_event event{};
    check(epoll_wait(epoll, &event, 1, -1) == 1 && event.data.u64 == 41, "what a task waited for");
    finish_child();
  }
  wait_until_asleep(child);
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int inner = make_epoll(EPOLL_CLOEXEC);
  const int middle = make_epoll();
  const int outer = make_epoll();
  const int semaphore = make_eventfd(3, EFD_SEMAPHORE);
  const int edge = make_eventfd(1);
  const int once = make_eventfd(1);
  const int exclusive = make_eventfd(0);
  const int timer = static_cast<int>(must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd"));
  const itimerspec far{{7, 0}, {3600, 0}};
  must(timerfd_settime(timer, 0, &far, nullptr), "settime");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  must(sigprocmask(SIG_BLOCK, &set, nullptr), "block");
  const int signals = static_cast<int>(must(signalfd(-1, &set, SFD_NONBLOCK), "signalfd"));
  watch(inner, semaphore, EPOLLIN, 1);
  watch(inner, edge, EPOLLIN | EPOLLET, kEdge);
  watch(inner, once, EPOLLIN | EPOLLONESHOT, 3);
  watch(inner, timer, EPOLLIN, 4);
  watch(inner, signals, EPOLLIN, 5);
  watch(inner, exclusive, EPOLLIN | EPOLLEXCLUSIVE, 8);
  watch(middle, inner, EPOLLIN, 6);
  watch(outer, middle, EPOLLIN | EPOLLET, 7);
  Fired fired;
  Moved moved;
  const int awaited = make_epoll();
  const int news = make_eventfd(0);
  watch(awaited, news, EPOLLIN, 41);
  const pid_t waiter = child_that_waits(awaited);

  say_ready();
  wait_to_go_on();
  check(ready(outer) == Data{7} && ready(middle) == Data{6}, "the outer epolls see the inner one");
  check(ready(inner) == Data({1, 3, kEdge}), "what was ready");
  check(ready(inner) == Data{1}, "only the level-triggered watch remains");
  must(kill(getpid(), SIGUSR1), "kill");
  check(eventfd_write(exclusive, 1) == 0, "write to what is watched exclusively");
  check(ready(inner) == Data({1, 5, 8}), "a signal, and what is watched exclusively");
  check(eventfd_write(edge, 1) == 0 && ready(inner) == Data({1, 5, 8, kEdge}), "another edge");
  eventfd_t count = 0;
  check(eventfd_read(semaphore, &count) == 0 && count == 1, "a semaphore gives one at a time");
  signalfd_siginfo info{};
  check(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1, "the signal");
  itimerspec left{};
  check(timerfd_gettime(timer, &left) == 0 && left.it_interval.tv_sec == 7, "the timer's interval");
  check(left.it_value.tv_sec > 3000 && left.it_value.tv_sec < 3600, "the timer goes on");
  fired.verify();
  moved.verify();
  check(waitpid(waiter, nullptr, WNOHANG) == 0, "who waited waits still");
  check(eventfd_write(news, 1) == 0, "write for who waits");
  expect_end(waiter);
  finish();
}
