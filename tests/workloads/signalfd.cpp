// signalfds: their masks, what waits to be read through them, for the process and for one thread, in its
// order and with its values; and a reader that waits in another task.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <atomic>
#include <initializer_list>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr int kQueued = 40;
constexpr int kToThread = 41;

std::atomic<bool> go_on{false};
std::atomic<bool> thread_ready{false};

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    sigaddset(&set, signal);
  }
  return set;
}

int make(std::initializer_list<int> signals, int flags, int fd = -1) {
  const sigset_t set = set_of(signals);
  return static_cast<int>(must(signalfd(fd, &set, flags), "signalfd"));
}

void expect_signal(int fd, int signal, int code, int value, const char* what) {
  signalfd_siginfo info{};
  if (read(fd, &info, sizeof info) != sizeof info) {
    fail("%s: nothing to read: %s", what, strerror(errno));
    return;
  }
  check_equal(info.ssi_signo, signal, what);
  check_equal(info.ssi_code, code, what);
  check_equal(info.ssi_int, value, what);
  check_equal(info.ssi_pid, getpid(), what);
  check_equal(info.ssi_uid, getuid(), what);
}

void expect_nothing(int fd, const char* what) {
  signalfd_siginfo info{};
  if (read(fd, &info, sizeof info) >= 0 || errno != EAGAIN) {
    fail("%s: signal %u", what, info.ssi_signo);
  }
}

void queue(pid_t pid, int signal, int value) {
  sigval carried{};
  carried.sival_int = value;
  must(sigqueue(pid, signal, carried), "sigqueue");
}

/// Reads its own signals through the descriptor that the others have too.
void* thread_with_own_signals(void* argument) {
  const int fd = *static_cast<int*>(argument);
  siginfo_t info{};
  info.si_signo = kToThread;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = 5;
  must(syscall(SYS_rt_tgsigqueueinfo, getpid(), workload::gettid(), kToThread, &info), "rt_tgsigqueueinfo");
  thread_ready = true;
  while (!go_on) {
    pause_ms(2);
  }
  expect_signal(fd, kToThread, SI_QUEUE, 5, "the thread's own signal");
  expect_nothing(fd, "after the thread's own signal");
  return nullptr;
}

pid_t child_that_reads(int fd) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    signalfd_siginfo info{};
    check(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == kQueued && info.ssi_int == 17,
          "the signal that a reader waited for");
    check_equal(info.ssi_pid, getppid(), "who sent it");
    finish_child();
  }
  wait_until_asleep(child);
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const sigset_t blocked = set_of({SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, kQueued, kToThread});
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  const int queued = make({kQueued, SIGUSR1}, SFD_NONBLOCK | SFD_CLOEXEC);
  const int narrowed = make({SIGUSR1, SIGUSR2, SIGTERM, kQueued}, SFD_NONBLOCK);
  make({SIGTERM}, 0, narrowed);
  const int empty = make({}, SFD_NONBLOCK);
  int of_thread = make({kToThread}, SFD_NONBLOCK);
  const int of_child = make({kQueued}, 0);
  const pid_t reader = child_that_reads(of_child);
  pthread_t thread{};
  must(-pthread_create(&thread, nullptr, thread_with_own_signals, &of_thread), "pthread_create");
  while (!thread_ready) {
    pause_ms(1);
  }
  for (const int value : {30, 10, 20}) {
    queue(getpid(), kQueued, value);
  }
  queue(getpid(), SIGUSR1, 99);
  kill(getpid(), SIGTERM);

  say_ready();
  wait_to_go_on();
  check((fcntl(queued, F_GETFL) & O_NONBLOCK) != 0 && fcntl(queued, F_GETFD) == FD_CLOEXEC, "flags");
  expect_nothing(empty, "an empty mask");
  expect_nothing(of_thread, "another thread's signal");
  pollfd poll{queued, POLLIN, 0};
  check(::poll(&poll, 1, 0) == 1, "poll sees the signals");
  expect_signal(queued, SIGUSR1, SI_QUEUE, 99, "the lowest number");
  for (const int value : {30, 10, 20}) {
    expect_signal(queued, kQueued, SI_QUEUE, value, "a queued signal");
  }
  expect_nothing(queued, "after all queued signals");
  kill(getpid(), SIGUSR2);
  expect_signal(narrowed, SIGTERM, SI_USER, 0, "the mask that was set last");
  expect_nothing(narrowed, "the mask that was set first");
  make({SIGUSR2}, 0, narrowed);
  expect_signal(narrowed, SIGUSR2, SI_USER, 0, "the mask that is set now");

  check(waitpid(reader, nullptr, WNOHANG) == 0, "who waited waits still");
  queue(reader, kQueued, 17);
  expect_end(reader);
  go_on = true;
  pthread_join(thread, nullptr);
  finish();
}
