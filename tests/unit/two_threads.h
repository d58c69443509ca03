#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "kernel/fd.h"

namespace godwit {

/// A child of two threads, both asleep.
class TwoThreads {
 public:
  TwoThreads() {
    int ends[2];
    if (::pipe(ends) != 0) {
      return;
    }
    const Fd ready(ends[0]);
    const Fd say(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      const std::thread second([&] {
        (void)!::write(say.get(), "r", 1);
        ::pause();
      });
      ::pause();
      ::_exit(1);
    }
    char byte = 0;
    (void)!::read(ready.get(), &byte, 1);
  }
  TwoThreads(const TwoThreads&) = delete;
  TwoThreads& operator=(const TwoThreads&) = delete;
  ~TwoThreads() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

}  // namespace godwit
