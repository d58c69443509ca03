// So many threads that they can't all be stopped in one moment: the last are seized when the first have long
// stopped. They must come back with their numbers, and each with its own memory.
#include <pthread.h>

#include <atomic>
#include <vector>

#include "tests/workloads/workload.h"

using namespace workload;

namespace {

constexpr int kThreads = 700;

std::atomic<int> started = 0;
std::atomic<int> ended = 0;
std::atomic<bool> ending = false;

thread_local long own = 0;

void* live(void*) {
  own = workload::gettid();
  ++started;
  while (!ending) {
    pause_ms(50);
  }
  check_equal(own, workload::gettid(), "a thread's own memory beside its number");
  ++ended;
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  std::vector<pthread_t> threads(kThreads);
  for (pthread_t& thread : threads) {
    must(-pthread_create(&thread, &small, live, nullptr), "pthread_create");
  }
  while (started < kThreads) {
    pause_ms(5);
  }
  say_ready();
  wait_to_go_on();
  ending = true;
  for (const pthread_t thread : threads) {
    check_equal(pthread_join(thread, nullptr), 0, "pthread_join");
  }
  check_equal(ended, kThreads, "threads that came to their end");
  finish();
}
