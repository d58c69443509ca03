// Signal actions with all their flags, masks, alternate stack in use inside a handler, and signals that wait,
// for the process and for one thread, with what they carry and in their order.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr int kRealTime = 40;
constexpr int kThreadRealTime = 41;
constexpr int kInHandler = 42;

char alternate_stack[65536];
std::atomic<bool> in_handler{false};
std::atomic<bool> helper_ready{false};
std::atomic<bool> go_on{false};
pid_t helper_tid = 0;

void queue_to_process(int signal, int value) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = value;
  workload::must(syscall(SYS_rt_sigqueueinfo, getpid(), signal, &info), "rt_sigqueueinfo");
}

void queue_to_thread(pid_t tid, int signal, int value) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = value;
  workload::must(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signal, &info), "rt_tgsigqueueinfo");
}

/// Takes one waiting signal, or says that there is none.
void expect_pending(int signal, int code, int value) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info{};
  const timespec none{};
  // Not by the C library, which makes SI_USER of SI_TKILL.
  if (syscall(SYS_rt_sigtimedwait, &set, &info, &none, sizeof(uint64_t)) != signal) {
    workload::fail("signal %d with value %d isn't pending", signal, value);
    return;
  }
  workload::check_equal(info.si_code, code, "si_code");
  workload::check_equal(info.si_pid, getpid(), "si_pid");
  workload::check_equal(info.si_uid, getuid(), "si_uid");
  if (code == SI_QUEUE) {
    workload::check_equal(info.si_value.sival_int, value, "si_value");
  }
}

void expect_none_pending(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  const timespec none{};
  workload::check(sigtimedwait(&set, nullptr, &none) == -1, "one signal too many is pending");
}

/// Waits inside the handler, on the alternate stack, with what the kernel masks meanwhile.
void handler_on_alternate_stack(int, siginfo_t* info, void*) {
  char here = 0;
  workload::check_equal(info->si_value.sival_int, 77, "value given to the handler");
  in_handler = true;
  while (!go_on) {
    workload::pause_ms(2);
  }
  workload::check(&here >= alternate_stack && &here < alternate_stack + sizeof alternate_stack,
                  "the handler isn't on its alternate stack");
  stack_t stack{};
  sigaltstack(nullptr, &stack);
  workload::check_equal(stack.ss_flags, SS_ONSTACK, "flags of the alternate stack in use");
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  workload::check_equal(sigismember(&mask, SIGUSR2), 1, "SIGUSR2 in the handler's mask");
  workload::check_equal(sigismember(&mask, kInHandler), 1, "its own signal in the handler's mask");
  workload::check_equal(sigismember(&mask, SIGHUP), 0, "SIGHUP in the handler's mask");
}

void* in_handler_thread(void*) {
  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  workload::must(sigaltstack(&stack, nullptr), "sigaltstack");
  // What waits for the process stays blocked here too; SIGUSR2 is blocked by the handler alone.
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  sigdelset(&mask, SIGUSR2);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  queue_to_thread(workload::gettid(), kInHandler, 77);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  workload::check_equal(sigismember(&mask, kInHandler), 0, "the mask after the handler");
  stack_t after{};
  sigaltstack(nullptr, &after);
  workload::check_equal(after.ss_flags, 0, "flags of the alternate stack after the handler");
  return nullptr;
}

void* pending_thread(void*) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  helper_tid = workload::gettid();
  helper_ready = true;
  while (!go_on) {
    workload::pause_ms(2);
  }
  for (const int value : {500, 400, 600, 300}) {
    expect_pending(kThreadRealTime, SI_QUEUE, value);
  }
  expect_none_pending(kThreadRealTime);
  expect_pending(SIGUSR1, SI_TKILL, 0);
  // Another one of the same number waits for the whole process; this thread's own came first.
  expect_pending(SIGUSR1, SI_QUEUE, 9);
  expect_none_pending(SIGUSR1);
  return nullptr;
}

void some_handler(int) {}
void other_handler(int, siginfo_t*, void*) {}

struct sigaction action_of(int signal) {
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  switch (signal) {
    case SIGHUP:
      action.sa_handler = SIG_IGN;
      break;
    case SIGCHLD:
      action.sa_handler = SIG_DFL;
      action.sa_flags = SA_NOCLDSTOP | SA_NOCLDWAIT;
      break;
    case SIGPIPE:
      action.sa_handler = some_handler;
      action.sa_flags = SA_RESTART | SA_NODEFER;
      sigaddset(&action.sa_mask, SIGALRM);
      sigaddset(&action.sa_mask, 64);
      break;
    case SIGALRM:
      action.sa_sigaction = other_handler;
      action.sa_flags = static_cast<int>(SA_SIGINFO | SA_RESETHAND | SA_ONSTACK);
      sigfillset(&action.sa_mask);
      break;
    case 64:
      action.sa_sigaction = other_handler;
      action.sa_flags = SA_SIGINFO;
      break;
    default:
      action.sa_handler = SIG_IGN;
      action.sa_flags = SA_RESTART;
  }
  return action;
}

constexpr int kActions[] = {SIGHUP, SIGCHLD, SIGPIPE, SIGALRM, SIGWINCH, 64};

void check_actions() {
  for (const int signal : kActions) {
    const struct sigaction wanted = action_of(signal);
    struct sigaction found {};
    sigaction(signal, nullptr, &found);
    if (found.sa_handler != wanted.sa_handler || (found.sa_flags & ~0x04000000) != wanted.sa_flags) {
      workload::fail("action of signal %d: flags 0x%x", signal, static_cast<unsigned>(found.sa_flags));
    }
    for (int other = 1; other < 65; ++other) {
      if (other != 32 && other != 33 && other != SIGKILL && other != SIGSTOP &&
          sigismember(&found.sa_mask, other) != sigismember(&wanted.sa_mask, other)) {
        workload::fail("signal %d in the mask of signal %d's action", other, signal);
      }
    }
  }
  struct sigaction untouched {};
  sigaction(SIGTERM, nullptr, &untouched);
  workload::check(untouched.sa_handler == SIG_DFL, "SIGTERM has got an action");
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  for (const int signal : kActions) {
    const struct sigaction action = action_of(signal);
    workload::must(sigaction(signal, &action, nullptr), "sigaction");
  }
  struct sigaction action {};
  action.sa_sigaction = handler_on_alternate_stack;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGUSR2);
  workload::must(sigaction(kInHandler, &action, nullptr), "sigaction");

  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : {kRealTime, kThreadRealTime, SIGUSR1, SIGUSR2, SIGTERM}) {
    sigaddset(&blocked, signal);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  pthread_t waiting{};
  pthread_t handling{};
  workload::must(-pthread_create(&waiting, nullptr, pending_thread, nullptr), "pthread_create");
  workload::must(-pthread_create(&handling, nullptr, in_handler_thread, nullptr), "pthread_create");
  while (!helper_ready || !in_handler) {
    workload::pause_ms(1);
  }
  for (const int value : {500, 400, 600, 300}) {
    queue_to_thread(helper_tid, kThreadRealTime, value);
  }
  syscall(SYS_tgkill, getpid(), helper_tid, SIGUSR1);
  queue_to_process(SIGUSR1, 9);
  // A thousand in one queue: more than fits one look.
  for (int value = 0; value < 1000; ++value) {
    queue_to_process(kRealTime, value * 3);
  }
  kill(getpid(), SIGTERM);
  workload::say_ready();
  workload::wait_to_go_on();
  check_actions();
  go_on = true;
  pthread_join(waiting, nullptr);
  for (int value = 0; value < 1000; ++value) {
    expect_pending(kRealTime, SI_QUEUE, value * 3);
  }
  expect_none_pending(kRealTime);
  expect_pending(SIGTERM, SI_USER, 0);
  pthread_join(handling, nullptr);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  for (int signal = 1; signal < 65; ++signal) {
    if (sigismember(&mask, signal) != sigismember(&blocked, signal)) {
      workload::fail("signal %d in the main thread's mask", signal);
    }
  }
  workload::finish();
}
