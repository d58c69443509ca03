// Threads of which one soon executes the program anew, again and again: a dump may come at any moment of it.
#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

char** arguments;

void* idle(void*) {
  for (;;) {
    pause();
  }
}

void* execute(void*) {
  const timespec moment{0, 1000L * (rand() % 3000)};
  nanosleep(&moment, nullptr);
  execv("/proc/self/exe", arguments);
  _exit(1);
}

}  // namespace

int main(int, char** argv) {
  arguments = argv;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  srand(static_cast<unsigned>(now.tv_nsec));
  pthread_t thread;
  for (int i = 0; i < 3; ++i) {
    pthread_create(&thread, nullptr, idle, nullptr);
  }
  pthread_create(&thread, nullptr, execute, nullptr);
  idle(nullptr);
}
