#include "dump/undertaker.h"

#include <sys/wait.h>

#include <chrono>
#include <csignal>

namespace godwit {

Undertaker::~Undertaker() {
  {
    const std::lock_guard guard(lock_);
    ending_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Undertaker::watch(pid_t tid) {
  const std::lock_guard guard(lock_);
  watched_.push_back(tid);
  if (!thread_.joinable()) {
    // Signals are for the thread that freezes.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
}

void Undertaker::work() {
  // Long beside what seizing takes, short beside what a person waits for.
  constexpr std::chrono::milliseconds kRound{10};
  std::unique_lock guard(lock_);
  while (!wake_.wait_for(guard, kRound, [this] { return ending_; })) {
    std::erase_if(watched_, [](pid_t tid) {
      siginfo_t death{};
      const int code = ::waitid(P_PID, static_cast<id_t>(tid), &death, WEXITED | WNOHANG | __WALL);
      return code != 0 || death.si_pid != 0;
    });
  }
}

}  // namespace godwit
