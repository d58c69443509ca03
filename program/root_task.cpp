#include "program/root_task.h"

#include <sys/wait.h>

#include <cerrno>
#include <csignal>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// SIGCHLD, SIGINT and SIGTERM, blocked for good: from here on they are only waited for.
sigset_t block_awaited_signals() {
  sigset_t awaited;
  sigemptyset(&awaited);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM}) {
    sigaddset(&awaited, signal);
  }
  ::sigprocmask(SIG_BLOCK, &awaited, nullptr);
  return awaited;
}

}  // namespace

int wait_and_forward_signals(pid_t child) {
  const sigset_t awaited = block_awaited_signals();
  // What came before they were blocked was only noted.
  if (const int signal = termination_signal(); signal != 0) {
    ::kill(child, signal);
  }
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (ended < 0) {
      throw errno_error("cannot wait for task {}", child);
    }
    const int signal = ::sigwaitinfo(&awaited, nullptr);
    if (signal == SIGINT || signal == SIGTERM) {
      ::kill(child, signal);
    }
  }
}

}  // namespace godwit
