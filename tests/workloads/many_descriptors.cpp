// One task with as many descriptors as its hard limit lets be restored, of mixed kinds: 15,000, if the limit
// is that high. With a second argument "forked" a child has all of them too.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <vector>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr int kWanted = 15000;
constexpr int kReserve = 600;  // what the restoring side needs beside

enum Kind { kEvent, kFile, kPipe, kSockets, kMemory, kTimer, kSecond, kWatcher, kNull, kKinds };

struct Opened {
  Kind kind;
  int fd;
  int other;  // the pipe's or the pair's other end, or what it is a duplicate of, or watches
  unsigned number;
};

std::vector<Opened> all;

int make(long fd) {
  return static_cast<int>(must(fd, "open a descriptor"));
}

std::string text_of(unsigned number) {
  return "number " + std::to_string(number);
}

Opened open_one(unsigned number) {
  // Pipes and pairs are few: a user may have memory for about a thousand pipes.
  const Kind kind = static_cast<Kind>(number % kKinds);
  const std::string text = text_of(number);
  int ends[2] = {-1, -1};
  switch (kind) {
    case kEvent:
      return {kind, make(eventfd(number + 1, EFD_NONBLOCK)), -1, number};
    case kFile:
      ends[0] = make(open(in_directory("file").c_str(), O_RDWR));
      must(lseek(ends[0], number, SEEK_SET), "lseek");
      return {kind, ends[0], -1, number};
    case kPipe:
    case kSockets:
      if (number % 4 != 0) {
        return {kNull, make(open("/dev/null", O_RDWR)), -1, number};
      }
      make(kind == kPipe ? pipe2(ends, O_NONBLOCK) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
      must(write_text(ends[1], text) ? 0 : -1, "write");
      return {kind, ends[0], ends[1], number};
    case kMemory:
      ends[0] = make(memfd_create("many", 0));
      must(write_text(ends[0], text) ? 0 : -1, "write");
      return {kind, ends[0], -1, number};
    case kTimer: {
      ends[0] = make(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
      const itimerspec far{{static_cast<time_t>(number + 1), 0}, {100000, 0}};
      must(timerfd_settime(ends[0], 0, &far, nullptr), "timerfd_settime");
      return {kind, ends[0], -1, number};
    }
    case kSecond:
      return {kind, make(dup(all.front().fd)), all.front().fd, number};
    case kWatcher: {
      ends[0] = make(epoll_create1(0));
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = number;
      must(epoll_ctl(ends[0], EPOLL_CTL_ADD, all[all.size() / 9 * 9].fd, &event), "epoll_ctl");
      return {kind, ends[0], -1, number};
    }
    default:
      return {kNull, make(open("/dev/null", O_RDWR)), -1, number};
  }
}

void check_one(const Opened& one) {
  const std::string text = text_of(one.number);
  switch (one.kind) {
    case kEvent: {
      eventfd_t count = 0;
      check(eventfd_read(one.fd, &count) == 0 && count == one.number + 1, "an eventfd");
      break;
    }
    case kFile:
      check_equal(lseek(one.fd, 0, SEEK_CUR), one.number, "position in a file");
      break;
    case kPipe:
    case kSockets:
      expect_text(one.fd, text, "a pipe or pair");
      check(write_text(one.other, "more"), "writing to it");
      expect_text(one.fd, "more", "a pipe or pair, written to again");
      break;
    case kMemory: {
      std::string found(text.size(), '\0');
      check(
          pread(one.fd, found.data(), found.size(), 0) == static_cast<ssize_t>(text.size()) && found == text,
          "a memfd");
      break;
    }
    case kTimer: {
      itimerspec value{};
      check(timerfd_gettime(one.fd, &value) == 0, "timerfd_gettime");
      check_equal(value.it_interval.tv_sec, one.number + 1, "a timer's interval");
      break;
    }
    case kSecond:
      check_equal(syscall(SYS_kcmp, getpid(), getpid(), 0, one.fd, one.other), 0, "a duplicate");
      break;
    case kWatcher: {
      epoll_event event{};
      check(epoll_wait(one.fd, &event, 1, 0) == 1 && event.data.u64 == one.number, "an epoll");
      break;
    }
    default:
      check(write_text(one.fd, text), "a device");
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  rlimit limit{};
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  const int wanted = static_cast<int>(std::min<rlim_t>(kWanted, limit.rlim_max - kReserve));
  append("file", std::string(20000, 'f').c_str());
  int highest = 0;
  for (unsigned number = 0; highest < wanted; ++number) {
    all.push_back(open_one(number));
    highest = std::max(all.back().fd, all.back().other);
  }
  const bool forked = argc > 2 && strcmp(argv[2], "forked") == 0;
  const auto child = forked ? static_cast<pid_t>(must(fork(), "fork")) : 0;
  if (forked && child == 0) {
    mark("child");
    wait_to_go_on();
    for (const Opened& one : all) {
      check_equal(syscall(SYS_kcmp, getpid(), getppid(), 0, one.fd, one.fd), 0, "shared with the parent");
    }
    mark("seen");
    finish_child();
  }
  if (forked) {
    wait_for_mark("child");
  }

  say_ready();
  wait_to_go_on();
  if (forked) {
    wait_for_mark("seen");
    expect_end(child);
  }
  // Watchers first: they see what has not been read yet.
  for (const Opened& one : all) {
    if (one.kind == kWatcher) {
      check_one(one);
    }
  }
  for (const Opened& one : all) {
    if (one.kind != kWatcher) {
      check_one(one);
    }
    if (failed()) {
      break;
    }
  }
  finish();
}
