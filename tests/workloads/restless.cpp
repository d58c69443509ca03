// Threads that begin and end all the time, in a task that never rests.
#include <pthread.h>

#include <atomic>

#include "tests/workloads/workload.h"

namespace {

std::atomic<long> ended{0};

void* end_at_once(void*) {
  ++ended;
  return nullptr;
}

void start_one() {
  pthread_t thread;
  if (pthread_create(&thread, nullptr, end_at_once, nullptr) != 0 || pthread_detach(thread) != 0) {
    workload::fail("a thread could not be made");
    workload::finish();
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::say_ready();
  long started = 0;
  while (!workload::exists("go")) {
    for (int i = 0; i < 100; ++i) {
      start_one();
    }
    started += 100;
  }
  for (int i = 0; i < 2000 && ended != started; ++i) {
    workload::pause_ms(5);
  }
  workload::check_equal(ended, started, "the number of threads that ended");
  workload::finish();
}
