// Sockets of one task that signal another: a process that is younger and a sibling, one of its threads, its
// process group.
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <thread>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

/// Before and after, everybody sees this.
struct Board {
  volatile pid_t process;
  volatile pid_t thread;
};

int for_process() {
  return SIGRTMIN + 1;
}
int for_group() {
  return SIGRTMIN + 2;
}
int for_thread() {
  return SIGRTMIN + 3;
}

void expect_signal(int signal, const char* what) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  const timespec limit{10, 0};
  siginfo_t info{};
  check_equal(sigtimedwait(&set, &info, &limit), signal, what);
  check((info.si_band & 1) != 0, "POLLIN in the signal's band");  // POLL_IN tells of EPOLLIN
}

[[noreturn]] void be_signalled(Board* board) {
  must(setpgid(0, 0), "setpgid");
  std::thread second([&] {
    board->thread = workload::gettid();
    wait_to_go_on();
    expect_signal(for_thread(), "signal for the thread");
  });
  while (board->thread == 0) {
    pause_ms(1);
  }
  board->process = getpid();
  wait_to_go_on();
  expect_signal(for_process(), "signal for the process");
  expect_signal(for_group(), "signal for the group");
  second.join();
  finish_child();
}

/// Returns the end through which the signal is caused.
int cause(int owner_type, pid_t owner, int signal) {
  int ends[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  const f_owner_ex who{static_cast<__pid_type>(owner_type), owner};
  must(fcntl(ends[0], F_SETOWN_EX, &who), "F_SETOWN_EX");
  must(fcntl(ends[0], F_SETSIG, signal), "F_SETSIG");
  must(fcntl(ends[0], F_SETFL, O_ASYNC), "O_ASYNC");
  return ends[1];
}

[[noreturn]] void signal_others(const Board* board) {
  while (board->process == 0) {
    pause_ms(1);
  }
  const int process = cause(F_OWNER_PID, board->process, for_process());
  const int group = cause(F_OWNER_PGRP, board->process, for_group());
  const int thread = cause(F_OWNER_TID, board->thread, for_thread());
  mark("causes");
  wait_to_go_on();
  check(write_text(process, "x") && write_text(group, "x") && write_text(thread, "x"), "write");
  finish_child();
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  auto* board =
      static_cast<Board*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  sigset_t all;
  sigemptyset(&all);
  for (const int signal : {for_process(), for_group(), for_thread()}) {
    sigaddset(&all, signal);
  }
  sigprocmask(SIG_BLOCK, &all, nullptr);
  const pid_t first = static_cast<pid_t>(must(fork(), "fork"));
  if (first == 0) {
    signal_others(board);
  }
  const pid_t second = static_cast<pid_t>(must(fork(), "fork"));
  if (second == 0) {
    be_signalled(board);
  }
  wait_for_mark("causes");
  say_ready();
  wait_to_go_on();
  expect_end(first);
  expect_end(second);
  finish();
}
