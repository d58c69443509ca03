// Threads that wait for descriptors: none returns early or with EINTR because of a dump or a restore.
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <atomic>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

std::atomic<int> about_to_wait{0};

struct Pipe {
  int from = -1;
  int to = -1;
};

Pipe make_pipe() {
  int ends[2];
  workload::must(pipe2(ends, O_CLOEXEC), "pipe2");
  return {ends[0], ends[1]};
}

void check_result(const char* what, long result, long wanted) {
  if (result != wanted) {
    workload::fail("%s returned %ld, errno %d", what, result, errno);
  }
}

void* in_read(void* argument) {
  char text[16] = {};
  ++about_to_wait;
  check_result("read of a pipe", read(static_cast<Pipe*>(argument)->from, text, sizeof text), 5);
  workload::check(strcmp(text, "hello") == 0, "what was read from the pipe");
  return nullptr;
}

constexpr long kAtOnce = 4096;

/// The pipe is full: nothing of what is to be written fits (a part of it would be returned by itself).
void* in_write(void* argument) {
  const Pipe* pipe = static_cast<Pipe*>(argument);
  const std::vector<char> much(kAtOnce, 'w');
  ++about_to_wait;
  check_result("write into a full pipe", write(pipe->to, much.data(), much.size()), kAtOnce);
  return nullptr;
}

/// Returns the bytes that it took.
long fill(const Pipe& pipe) {
  const std::vector<char> much(kAtOnce, 'w');
  workload::must(fcntl(pipe.to, F_SETFL, O_NONBLOCK), "F_SETFL");
  long filled = 0;
  for (long n = 0; (n = write(pipe.to, much.data(), much.size())) > 0;) {
    filled += n;
  }
  workload::must(fcntl(pipe.to, F_SETFL, 0), "F_SETFL");
  return filled;
}

void* in_poll(void* argument) {
  pollfd what{static_cast<Pipe*>(argument)->from, POLLIN, 0};
  ++about_to_wait;
  check_result("poll", poll(&what, 1, -1), 1);
  workload::check_equal(what.revents, POLLIN, "events of poll");
  return nullptr;
}

void* in_select(void* argument) {
  const int fd = static_cast<Pipe*>(argument)->from;
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  ++about_to_wait;
  check_result("select", select(fd + 1, &set, nullptr, nullptr, nullptr), 1);
  return nullptr;
}

void* in_epoll_wait(void* argument) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {}};
  event.data.u64 = 0x1234567890abcdef;
  workload::must(epoll_ctl(epoll, EPOLL_CTL_ADD, static_cast<Pipe*>(argument)->from, &event), "epoll_ctl");
  ++about_to_wait;
  epoll_event found{};
  check_result("epoll_wait", epoll_wait(epoll, &found, 1, -1), 1);
  workload::check_equal(static_cast<long long>(found.data.u64), 0x1234567890abcdef, "data of epoll_wait");
  return nullptr;
}

void* in_epoll_wait_timeout(void*) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const uint64_t start = workload::now_ns();
  ++about_to_wait;
  epoll_event found{};
  check_result("epoll_wait with a time-out", epoll_wait(epoll, &found, 1, 3000), 0);
  workload::check(workload::now_ns() - start >= 3000000000, "epoll_wait returned before its time-out");
  return nullptr;
}

void* in_recv(void* argument) {
  char text[16] = {};
  ++about_to_wait;
  check_result("recv", recv(static_cast<Pipe*>(argument)->from, text, sizeof text, 0), 5);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  Pipe pipes[6];
  for (Pipe& pipe : pipes) {
    pipe = make_pipe();
  }
  int sockets[2];
  workload::must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
  pipes[5] = {sockets[0], sockets[1]};
  const long bytes_through = fill(pipes[1]) + kAtOnce;
  std::vector<pthread_t> threads;
  const auto start = [&](void* (*body)(void*), Pipe* pipe) {
    pthread_t thread{};
    workload::must(-pthread_create(&thread, nullptr, body, pipe), "pthread_create");
    threads.push_back(thread);
  };
  start(in_read, &pipes[0]);
  start(in_write, &pipes[1]);
  start(in_poll, &pipes[2]);
  start(in_select, &pipes[3]);
  start(in_epoll_wait, &pipes[4]);
  start(in_epoll_wait_timeout, nullptr);
  start(in_recv, &pipes[5]);
  while (about_to_wait < static_cast<int>(threads.size())) {
    workload::pause_ms(1);
  }
  workload::pause_ms(20);
  workload::say_ready();
  workload::wait_to_go_on();
  workload::pause_ms(50);
  for (const int i : {0, 2, 3, 4, 5}) {
    check_result("write", write(pipes[i].to, "hello", 5), 5);
  }
  long read_back = 0;
  char buffer[4096];
  while (read_back < bytes_through) {
    const long n = read(pipes[1].from, buffer, sizeof buffer);
    if (n <= 0) {
      workload::fail("reading back: %ld, errno %d", n, errno);
      break;
    }
    for (long i = 0; i < n; ++i) {
      if (buffer[i] != 'w') {
        workload::fail("another byte came through the pipe");
        workload::finish();
      }
    }
    read_back += n;
  }
  workload::check_equal(read_back, bytes_through, "bytes through the full pipe");
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  workload::finish();
}
