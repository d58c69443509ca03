// eventfds: counts up to the largest, semaphores, readers and writers that wait in other tasks, and one that
// parent and child share.
#include <poll.h>
#include <sys/eventfd.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr uint64_t kLargest = ~uint64_t{0} - 1;

int make(uint64_t count, int flags) {
  const int fd = static_cast<int>(must(eventfd(0, flags), "eventfd"));
  must(count == 0 ? 0 : eventfd_write(fd, count), "eventfd_write");
  return fd;
}

void expect_count(int fd, uint64_t wanted, const char* what) {
  eventfd_t count = 0;
  if (eventfd_read(fd, &count) != 0 || count != wanted) {
    fail("%s: %llu instead of %llu", what, static_cast<unsigned long long>(count),
         static_cast<unsigned long long>(wanted));
  }
}

bool is_empty(int fd) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 0;
}

/// A child in a system call on an eventfd, sure to wait in it.
template <typename Body>
pid_t waiting_child(const Body& body) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    body();
    finish_child();
  }
  wait_until_asleep(child);
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const int count = make(0x123456789abcULL, EFD_NONBLOCK | EFD_CLOEXEC);
  const int empty = make(0, EFD_NONBLOCK);
  const int semaphore = make(3, EFD_SEMAPHORE | EFD_NONBLOCK);
  const int empty_semaphore = make(0, EFD_SEMAPHORE | EFD_NONBLOCK);
  const int full = make(kLargest, EFD_NONBLOCK);
  const int awaited = make(0, 0);
  const int awaited_semaphore = make(0, EFD_SEMAPHORE);
  const int brimming = make(kLargest - 1, 0);
  const int shared = make(10, EFD_NONBLOCK);

  const pid_t reader = waiting_child([&] { expect_count(awaited, 42, "what a reader waited for"); });
  const pid_t taker = waiting_child([&] { expect_count(awaited_semaphore, 1, "what a taker waited for"); });
  const pid_t writer =
      waiting_child([&] { check(eventfd_write(brimming, 7) == 0, "a writer's write, which waited"); });
  const pid_t sharer = static_cast<pid_t>(must(fork(), "fork"));
  if (sharer == 0) {
    wait_to_go_on();
    check(eventfd_write(shared, 5) == 0, "the child adds");
    mark("added");
    finish_child();
  }

  say_ready();
  wait_to_go_on();
  expect_count(count, 0x123456789abcULL, "the count");
  check(is_empty(count) && is_empty(empty) && is_empty(empty_semaphore), "what is empty");
  check((fcntl(count, F_GETFL) & O_NONBLOCK) != 0 && fcntl(count, F_GETFD) == FD_CLOEXEC, "flags");
  check((fcntl(awaited, F_GETFL) & O_NONBLOCK) == 0 && fcntl(awaited, F_GETFD) == 0, "no flags");
  for (int i = 0; i < 3; ++i) {
    expect_count(semaphore, 1, "a semaphore gives one at a time");
  }
  check(is_empty(semaphore), "a semaphore that is used up");
  check(eventfd_write(empty_semaphore, 2) == 0, "write to a semaphore");
  expect_count(empty_semaphore, 1, "a semaphore that was empty");
  check(eventfd_write(full, 1) != 0 && errno == EAGAIN, "the largest count takes no more");
  expect_count(full, kLargest, "the largest count");

  check(waitpid(reader, nullptr, WNOHANG) == 0 && waitpid(taker, nullptr, WNOHANG) == 0 &&
            waitpid(writer, nullptr, WNOHANG) == 0,
        "who waited waits still");
  check(eventfd_write(awaited, 42) == 0 && eventfd_write(awaited_semaphore, 2) == 0, "write for who waits");
  expect_count(brimming, kLargest - 1, "the count that leaves no room");
  for (const pid_t child : {reader, taker, writer}) {
    expect_end(child);
  }
  expect_count(awaited_semaphore, 1, "what the taker left");
  expect_count(brimming, 7, "what the writer wrote");
  wait_for_mark("added");
  expect_count(shared, 15, "the sum of parent and child");
  expect_end(sharer);
  finish();
}
