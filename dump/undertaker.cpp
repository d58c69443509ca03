#include "dump/undertaker.h"

#include <sys/wait.h>

#include <algorithm>
#include <chrono>

#include "kernel/blocked_signals.h"
#include "kernel/ptrace.h"

namespace godwit {

namespace {

/// True: it is gone now, or is no tracee any more. The stops of a tracee are told whatever one asks for
/// (wait(2)), and must stay for the thread that freezes: so one looks first, without taking anything.
bool collect_if_dead(pid_t tid) {
  if (!ptrace::has_ended(tid)) {
    return false;
  }
  ::waitpid(tid, nullptr, __WALL | WNOHANG);
  return true;
}

}  // namespace

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
    const BlockedSignals blocked;  // they are for the thread that freezes
    thread_ = std::thread([this] { work(); });
  }
}

void Undertaker::work() {
  // Long beside what seizing takes, short beside what a person waits for.
  constexpr std::chrono::nanoseconds kRound = std::chrono::milliseconds(10);
  // A round asks the kernel once a thread: of thousands it comes less often, so that it never takes more
  // than a part of a core from who dumps.
  constexpr int kPart = 20;
  std::chrono::nanoseconds pause = kRound;
  std::unique_lock guard(lock_);
  while (!wake_.wait_for(guard, pause, [this] { return ending_; })) {
    const auto start = std::chrono::steady_clock::now();
    std::erase_if(watched_, collect_if_dead);
    pause = std::max(kRound, kPart * (std::chrono::steady_clock::now() - start));
  }
}

}  // namespace godwit
