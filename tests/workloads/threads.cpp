// Many threads that differ in all that a thread can have of its own: name, signal mask, alternate stack,
// thread-local storage, nice value, and robust mutexes that they hold.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <atomic>
#include <memory>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr int kThreads = 24;

thread_local int number_of_thread = -1;
thread_local char local_bytes[5000];
std::atomic<int> ready_threads{0};
std::atomic<bool> go_on{false};

struct Thread {
  int number = 0;
  pthread_t handle{};
  pid_t tid = 0;
  pthread_mutex_t mutex{};
  std::unique_ptr<char[]> stack;
};

bool has_alternate_stack(int number) {
  return number % 3 == 0;
}

sigset_t mask_of(int number) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + number % 20);
  if (number % 2 == 0) {
    sigaddset(&mask, SIGUSR2);
  }
  return mask;
}

void name_of(int number, char (&name)[16]) {
  snprintf(name, sizeof name, "thread(%d) %c", number, 'a' + number);
}

void prepare(Thread& self) {
  number_of_thread = self.number;
  self.tid = workload::gettid();
  memset(local_bytes, self.number + 1, sizeof local_bytes);
  char name[16];
  name_of(self.number, name);
  prctl(PR_SET_NAME, name);
  const sigset_t mask = mask_of(self.number);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  if (has_alternate_stack(self.number)) {
    const size_t size = 16384 + static_cast<size_t>(self.number) * 4096;
    self.stack = std::make_unique<char[]>(size);
    stack_t stack{};
    stack.ss_sp = self.stack.get();
    stack.ss_size = size;
    workload::must(sigaltstack(&stack, nullptr), "sigaltstack");
  }
  // A nice value belongs to a thread on Linux.
  workload::must(setpriority(PRIO_PROCESS, static_cast<id_t>(self.tid), self.number % 10), "setpriority");
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&self.mutex, &attributes);
  pthread_mutex_lock(&self.mutex);
}

void verify(const Thread& self) {
  const int number = self.number;
  workload::check_equal(number_of_thread, number, "thread-local number");
  workload::check_equal(workload::gettid(), self.tid, "tid");
  for (const char byte : local_bytes) {
    if (byte != number + 1) {
      workload::fail("thread-local bytes of thread %d", number);
      break;
    }
  }
  char wanted[16];
  char name[16] = {};
  name_of(number, wanted);
  prctl(PR_GET_NAME, name);
  workload::check(strcmp(name, wanted) == 0, "thread name");
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  const sigset_t wanted_mask = mask_of(number);
  for (int signal = 1; signal < 65; ++signal) {
    if (sigismember(&mask, signal) != sigismember(&wanted_mask, signal)) {
      workload::fail("signal %d in the mask of thread %d", signal, number);
    }
  }
  stack_t stack{};
  sigaltstack(nullptr, &stack);
  if (has_alternate_stack(number)) {
    workload::check(stack.ss_sp == self.stack.get(), "address of the alternate stack");
    workload::check_equal(static_cast<long long>(stack.ss_size), 16384 + number * 4096,
                          "alternate stack's size");
  } else {
    workload::check_equal(stack.ss_flags, SS_DISABLE, "flags of no alternate stack");
  }
  errno = 0;
  workload::check_equal(getpriority(PRIO_PROCESS, static_cast<id_t>(self.tid)), number % 10, "nice");
}

void* body(void* argument) {
  Thread& self = *static_cast<Thread*>(argument);
  prepare(self);
  ++ready_threads;
  // Odd threads sleep, each fourth spins without system calls.
  while (!go_on) {
    if (self.number % 4 != 0) {
      workload::pause_ms(3);
    }
  }
  verify(self);
  // Half of them end holding their mutex: the kernel walks the robust list and tells the next owner.
  if (self.number % 2 == 0) {
    pthread_mutex_unlock(&self.mutex);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::vector<Thread> threads(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads[static_cast<size_t>(i)].number = i;
    workload::must(-pthread_create(&threads[static_cast<size_t>(i)].handle, nullptr, body,
                                   &threads[static_cast<size_t>(i)]),
                   "pthread_create");
  }
  while (ready_threads < kThreads) {
    workload::pause_ms(1);
  }
  workload::say_ready();
  workload::wait_to_go_on();
  for (Thread& thread : threads) {
    workload::check_equal(pthread_mutex_trylock(&thread.mutex), EBUSY,
                          "trying a mutex that its thread holds");
  }
  go_on = true;
  for (Thread& thread : threads) {
    pthread_join(thread.handle, nullptr);
    workload::check_equal(pthread_mutex_lock(&thread.mutex), thread.number % 2 == 0 ? 0 : EOWNERDEAD,
                          "locking a robust mutex after its thread's end");
  }
  // New threads can be made, and joined, as ever.
  pthread_t another{};
  workload::check_equal(pthread_create(
                            &another, nullptr, [](void*) -> void* { return &ready_threads; }, nullptr),
                        0, "pthread_create after restore");
  void* result = nullptr;
  workload::check_equal(pthread_join(another, &result), 0, "pthread_join");
  workload::check(result == &ready_threads, "result of the new thread");
  workload::finish();
}
