#include "kernel/cancel.h"

#include <poll.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::array kSignals{SIGTERM, SIGINT, SIGHUP};
constexpr std::array kIgnored{SIGPIPE, SIGXFSZ};

volatile std::sig_atomic_t noted_signal = 0;
volatile std::sig_atomic_t noted_code = 0;
std::atomic<unsigned> noted_count = 0;
static_assert(std::atomic<unsigned>::is_always_lock_free, "a signal handler counts (man 7 signal-safety)");

void note(int signal, siginfo_t* info, void*) {
  noted_signal = signal;
  noted_code = info->si_code;
  ++noted_count;
}

/// The calling thread gets the signals only where it says so.
class HeldSignals {
 public:
  HeldSignals() {
    sigset_t held;
    sigemptyset(&held);
    for (const int signal : kSignals) {
      sigaddset(&held, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &held, &before_);
  }
  ~HeldSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  /// A mask that lets them come.
  [[nodiscard]] sigset_t without() const {
    sigset_t mask = before_;
    for (const int signal : kSignals) {
      sigdelset(&mask, signal);
    }
    return mask;
  }

 private:
  sigset_t before_{};
};

}  // namespace

void note_termination_signals() {
  struct sigaction action {};
  action.sa_sigaction = note;
  action.sa_flags = SA_SIGINFO;
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, &action, &before);
    if (before.sa_handler == SIG_IGN) {
      ::sigaction(signal, &before, nullptr);
    }
  }
  // Whoever reads our lines may go, and files may have a limit: that is an error of the call, and no reason
  // to die in the middle of a freeze.
  for (const int signal : kIgnored) {
    ::signal(signal, SIG_IGN);
  }
}

sigset_t signals_ignored_here() {
  sigset_t ignored;
  sigemptyset(&ignored);
  for (const int signal : kIgnored) {
    sigaddset(&ignored, signal);
  }
  return ignored;
}

int termination_signal() {
  return noted_signal;
}

bool termination_signal_is_a_terminals() {
  return noted_code == SI_KERNEL;
}

void check_cancelled() {
  if (noted_signal != 0) {
    throw error("interrupted by SIG{}", sigabbrev_np(noted_signal));
  }
}

unsigned termination_signals() {
  return noted_count;
}

void wait_readable(int fd, unsigned heeded) {
  const HeldSignals held;
  const sigset_t while_waiting = held.without();
  for (;;) {
    if (noted_count != heeded) {
      check_cancelled();
    }
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    if (::ppoll(&waited, 1, nullptr, &while_waiting) > 0) {
      return;
    }
    if (errno != EINTR) {
      throw errno_error("cannot wait for descriptor {}", fd);
    }
  }
}

}  // namespace godwit
