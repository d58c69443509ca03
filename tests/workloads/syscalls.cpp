// Threads that wait in system calls. None of these calls returns early or with EINTR because of a dump or a
// restore. Those that wait for descriptors are in blocked_io.cpp.
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>

#include <atomic>
#include <climits>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr uint64_t kTimeout = 3000000000;  // ns

std::atomic<int> about_to_wait{0};
std::atomic<int> handled{0};
uint32_t futex_word = 0;
uint32_t futex_word_never_woken = 0;
pid_t sigsuspend_tid = 0;
pid_t sigtimedwait_tid = 0;
pid_t pause_tid = 0;
pid_t ppoll_tid = 0;
pid_t awaited_child = 0;

timespec timespec_of(uint64_t ns) {
  return {static_cast<time_t>(ns / 1000000000U), static_cast<long>(ns % 1000000000U)};
}

/// A call that ends by its time-out: with this result, and no earlier.
void check_timed(const char* what, uint64_t start, long result, int error, int wanted_error) {
  const uint64_t elapsed = workload::now_ns() - start;
  if (result != (wanted_error == 0 ? 0 : -1) || (result < 0 && error != wanted_error)) {
    workload::fail("%s returned %ld, errno %d", what, result, error);
  }
  if (elapsed < kTimeout) {
    workload::fail("%s returned after %llu ns", what, static_cast<unsigned long long>(elapsed));
  }
}

void* in_nanosleep(void*) {
  const uint64_t start = workload::now_ns();
  const timespec wait = timespec_of(kTimeout);
  ++about_to_wait;
  const long result = nanosleep(&wait, nullptr);
  check_timed("nanosleep", start, result, errno, 0);
  return nullptr;
}

void* in_clock_nanosleep_absolute(void*) {
  const uint64_t start = workload::now_ns();
  const timespec until = timespec_of(start + kTimeout);
  ++about_to_wait;
  const int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
  check_timed("clock_nanosleep until a moment", start, error == 0 ? 0 : -1, error, 0);
  return nullptr;
}

void* in_clock_nanosleep_realtime(void*) {
  const uint64_t start = workload::now_ns();
  const timespec until = timespec_of(workload::now_ns(CLOCK_REALTIME) + kTimeout + 1000000);
  ++about_to_wait;
  const int error = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, nullptr);
  check_timed("clock_nanosleep until a moment of real time", start, error == 0 ? 0 : -1, error, 0);
  return nullptr;
}

void* in_futex_wait(void*) {
  ++about_to_wait;
  const long result = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  if (result != 0) {
    workload::fail("futex wait returned %ld, errno %d", result, errno);
  }
  workload::check_equal(*static_cast<volatile uint32_t*>(&futex_word), 1, "futex word at wake");
  return nullptr;
}

void* in_futex_wait_relative(void*) {
  const uint64_t start = workload::now_ns();
  const timespec wait = timespec_of(kTimeout);
  ++about_to_wait;
  const long result = syscall(SYS_futex, &futex_word_never_woken, FUTEX_WAIT_PRIVATE, 0, &wait, nullptr, 0);
  check_timed("futex wait with a time-out", start, result, errno, ETIMEDOUT);
  return nullptr;
}

void* in_futex_wait_absolute(void*) {
  const uint64_t start = workload::now_ns();
  const timespec until = timespec_of(start + kTimeout);
  ++about_to_wait;
  const long result = syscall(SYS_futex, &futex_word_never_woken, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0,
                              &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  check_timed("futex wait until a moment", start, result, errno, ETIMEDOUT);
  return nullptr;
}

void* in_poll_timeout(void*) {
  const uint64_t start = workload::now_ns();
  ++about_to_wait;
  const long result = syscall(SYS_poll, nullptr, 0, static_cast<int>(kTimeout / 1000000));
  check_timed("poll with a time-out", start, result, errno, 0);
  return nullptr;
}

void* in_select_timeout(void*) {
  const uint64_t start = workload::now_ns();
  timeval wait{kTimeout / 1000000000, kTimeout % 1000000000 / 1000};
  ++about_to_wait;
  const long result = select(0, nullptr, nullptr, nullptr, &wait);
  check_timed("select with a time-out", start, result, errno, 0);
  return nullptr;
}

void count_signal(int) {
  ++handled;
}

bool is_blocked(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

/// Waits with another mask: interrupted by a signal that only this mask lets in, and then the thread's own
/// mask is back.
void* in_sigsuspend(void*) {
  sigsuspend_tid = workload::gettid();
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  sigdelset(&mask, SIGUSR1);
  ++about_to_wait;
  const long result = sigsuspend(&mask);
  if (result != -1 || errno != EINTR || handled == 0) {
    workload::fail("sigsuspend returned %ld, errno %d, %d signals handled", result, errno, handled.load());
  }
  workload::check(is_blocked(SIGUSR1), "SIGUSR1 isn't blocked after sigsuspend");
  return nullptr;
}

void* in_ppoll(void*) {
  ppoll_tid = workload::gettid();
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  sigdelset(&mask, SIGUSR1);
  ++about_to_wait;
  const long result = syscall(SYS_ppoll, nullptr, 0, nullptr, &mask, sizeof(uint64_t));
  if (result != -1 || errno != EINTR || handled == 0) {
    workload::fail("ppoll returned %ld, errno %d, %d signals handled", result, errno, handled.load());
  }
  workload::check(is_blocked(SIGUSR1), "SIGUSR1 isn't blocked after ppoll");
  return nullptr;
}

void* in_pause(void*) {
  pause_tid = workload::gettid();
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &mask, nullptr);
  ++about_to_wait;
  const long result = pause();
  if (result != -1 || errno != EINTR || handled == 0) {
    workload::fail("pause returned %ld, errno %d, %d signals handled", result, errno, handled.load());
  }
  return nullptr;
}

void* in_sigtimedwait(void*) {
  sigtimedwait_tid = workload::gettid();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  ++about_to_wait;
  siginfo_t info{};
  const long result = syscall(SYS_rt_sigtimedwait, &set, &info, nullptr, sizeof(uint64_t));
  if (result != SIGUSR2) {
    workload::fail("sigtimedwait returned %ld, errno %d", result, errno);
  }
  return nullptr;
}

void* in_sigtimedwait_timeout(void*) {
  const uint64_t start = workload::now_ns();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  const timespec wait = timespec_of(kTimeout);
  ++about_to_wait;
  const long result = syscall(SYS_rt_sigtimedwait, &set, nullptr, &wait, sizeof(uint64_t));
  check_timed("sigtimedwait with a time-out", start, result, errno, EAGAIN);
  return nullptr;
}

void* in_wait4(void*) {
  int status = 0;
  ++about_to_wait;
  const pid_t pid = wait4(awaited_child, &status, 0, nullptr);
  if (pid != awaited_child || status != 7 << 8) {
    workload::fail("wait4 returned %d, errno %d, status 0x%x", pid, errno, static_cast<unsigned>(status));
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = count_signal;
  workload::must(sigaction(SIGUSR1, &action, nullptr), "sigaction");
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  sigaddset(&mask, SIGUSR2);
  sigaddset(&mask, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  awaited_child = fork();
  if (awaited_child == 0) {
    workload::wait_to_go_on();
    _exit(7);
  }
  std::vector<pthread_t> threads;
  for (void* (*body)(void*) :
       {in_nanosleep, in_clock_nanosleep_absolute, in_clock_nanosleep_realtime, in_futex_wait,
        in_futex_wait_relative, in_futex_wait_absolute, in_poll_timeout, in_select_timeout, in_sigsuspend,
        in_ppoll, in_pause, in_sigtimedwait, in_sigtimedwait_timeout, in_wait4}) {
    pthread_t thread{};
    workload::must(-pthread_create(&thread, nullptr, body, nullptr), "pthread_create");
    threads.push_back(thread);
  }
  while (about_to_wait < static_cast<int>(threads.size())) {
    workload::pause_ms(1);
  }
  workload::pause_ms(20);
  workload::say_ready();
  workload::wait_to_go_on();
  workload::pause_ms(50);
  workload::check_equal(handled, 0, "signals handled before any was sent");
  __atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  for (const pid_t tid : {sigsuspend_tid, ppoll_tid, pause_tid}) {
    syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
  }
  syscall(SYS_tgkill, getpid(), sigtimedwait_tid, SIGUSR2);
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  workload::check_equal(handled, 3, "signals handled");
  workload::finish();
}
