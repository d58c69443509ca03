// Robust and priority-inheriting mutexes between processes: who waits for one while everything is dumped gets
// it afterwards, also from an owner that dies with it.
#include <pthread.h>
#include <sys/mman.h>

#include "tests/workloads/workload.h"

using namespace workload;

namespace {

struct Mutexes {
  pthread_mutex_t abandoned;          // robust; the owner ends with it
  pthread_mutex_t abandoned_inherit;  // the same, with priority inheritance
  pthread_mutex_t handed_over;        // with priority inheritance; the owner unlocks it
  int value;
};

void make(pthread_mutex_t& mutex, int protocol, int robust) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setprotocol(&attributes, protocol);
  pthread_mutexattr_setrobust(&attributes, robust);
  must(-pthread_mutex_init(&mutex, &attributes), "pthread_mutex_init");
}

/// A child that locks the mutex, which somebody else has.
pid_t child_that_waits(pthread_mutex_t& mutex, int wanted) {
  const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    check_equal(pthread_mutex_lock(&mutex), wanted, "locking a mutex that another had");
    if (wanted == EOWNERDEAD) {
      check_equal(pthread_mutex_consistent(&mutex), 0, "pthread_mutex_consistent");
    }
    check_equal(pthread_mutex_unlock(&mutex), 0, "unlocking");
    finish_child();
  }
  wait_until_asleep(child);
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  void* place = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  must(place == MAP_FAILED ? -1 : 0, "mmap");
  auto& mutexes = *static_cast<Mutexes*>(place);
  make(mutexes.abandoned, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST);
  make(mutexes.abandoned_inherit, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST);
  make(mutexes.handed_over, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
  const pid_t owner = static_cast<pid_t>(must(fork(), "fork"));
  if (owner == 0) {
    pthread_mutex_lock(&mutexes.abandoned);
    pthread_mutex_lock(&mutexes.abandoned_inherit);
    mark("owner");
    wait_to_go_on();
    wait_for_mark("die");
    finish_child();
  }
  wait_for_mark("owner");
  pthread_mutex_lock(&mutexes.handed_over);
  const pid_t waits = child_that_waits(mutexes.abandoned, EOWNERDEAD);
  const pid_t waits_inherit = child_that_waits(mutexes.abandoned_inherit, EOWNERDEAD);
  const pid_t takes_over = child_that_waits(mutexes.handed_over, 0);

  say_ready();
  wait_to_go_on();
  for (const pid_t child : {waits, waits_inherit, takes_over}) {
    check_equal(waitpid(child, nullptr, WNOHANG), 0, "who waited waits still");
  }
  check_equal(pthread_mutex_unlock(&mutexes.handed_over), 0, "unlocking for who waits");
  expect_end(takes_over);
  mark("die");
  expect_end(owner);
  expect_end(waits);
  expect_end(waits_inherit);
  for (pthread_mutex_t* mutex : {&mutexes.abandoned, &mutexes.abandoned_inherit, &mutexes.handed_over}) {
    check_equal(pthread_mutex_lock(mutex), 0, "locking a mutex afterwards");
    pthread_mutex_unlock(mutex);
  }
  finish();
}
