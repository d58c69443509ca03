#include "kernel/cancel.h"

#include <csignal>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {
volatile std::sig_atomic_t noted_signal = 0;
void note(int signal) {
  noted_signal = signal;
}
}  // namespace

void note_termination_signals() {
  struct sigaction action {};
  action.sa_handler = note;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    struct sigaction before {};
    ::sigaction(signal, &action, &before);
    if (before.sa_handler == SIG_IGN) {
      ::sigaction(signal, &before, nullptr);
    }
  }
  // Whoever reads our lines may go, and files may have a limit: that is an error of the call, and no reason
  // to die in the middle of a freeze.
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

int termination_signal() {
  return noted_signal;
}

void check_cancelled() {
  if (noted_signal != 0) {
    throw error("interrupted by SIG{}", sigabbrev_np(noted_signal));
  }
}

}  // namespace godwit
