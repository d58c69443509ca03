#include "kernel/cancel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "kernel/fd.h"

namespace godwit {
namespace {

enum Answer { kNoTerminal = 2, kOfATerminal, kOfAProcess };

/// In a session of its own, in the foreground of a new terminal: gets SIGINT by a key or by kill(2).
int who_interrupted(bool by_key) {
  ::setsid();
  const Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) {
    return kNoTerminal;
  }
  const Fd terminal(::open(::ptsname(master.get()), O_RDWR | O_CLOEXEC));
  if (!terminal || ::ioctl(terminal.get(), TIOCSCTTY, 0) != 0) {
    return kNoTerminal;
  }
  note_termination_signals();
  sigset_t interrupt;
  sigset_t before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  ::sigprocmask(SIG_BLOCK, &interrupt, &before);
  if (by_key ? ::write(master.get(), "\x03", 1) != 1 : ::kill(::getpid(), SIGINT) != 0) {
    return kNoTerminal;
  }
  while (termination_signal() == 0) {
    ::sigsuspend(&before);
  }
  return termination_signal_is_a_terminals() ? kOfATerminal : kOfAProcess;
}

int answer_of_a_child(bool by_key) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(who_interrupted(by_key));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Cancel, KnowsATerminalsSignal) {
  EXPECT_EQ(answer_of_a_child(true), kOfATerminal);
  EXPECT_EQ(answer_of_a_child(false), kOfAProcess);
}

}  // namespace
}  // namespace godwit
