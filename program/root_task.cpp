#include "program/root_task.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

constexpr std::array kPassedOn{SIGINT, SIGQUIT, SIGTERM, SIGHUP};

/// SIGCHLD, SIGCONT and the signals that are passed on, blocked for good: from here on they are only waited
/// for. What whoever started us has had ignored, as nohup(1) does, stays so.
sigset_t block_awaited_signals() {
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  sigaddset(&awaited, SIGCONT);
  for (const int signal : kPassedOn) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
      sigaddset(&awaited, signal);
    }
  }
  ::sigprocmask(SIG_BLOCK, &awaited, nullptr);
  return awaited;
}

Fd controlling_terminal() {
  return Fd(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
}

/// The restored tree as the job of a shell: whoever runs this command takes the command for the job.
class Job {
 public:
  explicit Job(pid_t root) : root_(root), group_(::getpgid(root)) {}

  /// What a terminal sends is for all processes of a job, and so is a hangup.
  void pass_on(int signal, bool from_terminal) const {
    if (has_own_group() && (from_terminal || signal == SIGHUP)) {
      ::kill(-group_, signal);
    } else if (!from_terminal) {
      ::kill(root_, signal);
    }
  }

  /// The root has been stopped by `signal`. If that was in a terminal, the shell that waits for us must see
  /// us stop, too.
  void stop(int signal) const {
    const Fd terminal = controlling_terminal();
    const bool in_foreground = terminal && ::tcgetpgrp(terminal.get()) == group_;
    const bool from_background = terminal && (signal == SIGTTIN || signal == SIGTTOU);
    if (!has_own_group() || !(in_foreground || from_background)) {
      return;
    }
    // SIGSTOP would stop us even if there is no shell to have us go on.
    ::kill(0, signal == SIGSTOP ? SIGTSTP : signal);
    sigset_t pending;
    const bool stood_still = ::sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
    if (!stood_still && in_foreground) {
      ::kill(-group_, SIGCONT);
    }
  }

  /// The shell has us go on: so does the job, in the foreground if that is where we are.
  void go_on() const {
    const Fd terminal = controlling_terminal();
    if (has_own_group()) {
      if (terminal && ::tcgetpgrp(terminal.get()) == ::getpgrp()) {
        ::tcsetpgrp(terminal.get(), group_);
      }
      ::kill(-group_, SIGCONT);
    }
  }

  /// The root has ended: a terminal that has the job in the foreground is given back to us.
  void end() const {
    const Fd terminal = controlling_terminal();
    if (terminal && has_own_group() && ::tcgetpgrp(terminal.get()) == group_) {
      ::signal(SIGTTOU, SIG_IGN);  // it would stop us in the background
      ::tcsetpgrp(terminal.get(), ::getpgrp());
    }
  }

 private:
  [[nodiscard]] bool has_own_group() const { return group_ > 0 && group_ != ::getpgrp(); }

  pid_t root_;
  pid_t group_;
};

}  // namespace

int wait_and_forward_signals(pid_t child) {
  const Job job(child);
  const sigset_t awaited = block_awaited_signals();
  // What came before they were blocked was only noted.
  if (const int signal = termination_signal(); signal != 0) {
    job.pass_on(signal, termination_signal_is_a_terminals());
  }
  for (;;) {
    int status = 0;
    const pid_t changed = ::waitpid(child, &status, WNOHANG | WUNTRACED);
    if (changed < 0) {
      throw errno_error("cannot wait for task {}", child);
    }
    if (changed == child && WIFSTOPPED(status)) {
      job.stop(WSTOPSIG(status));
    } else if (changed == child) {
      job.end();
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    siginfo_t info{};
    const int signal = ::sigwaitinfo(&awaited, &info);
    if (signal == SIGCONT) {
      job.go_on();
    } else if (signal > 0 && signal != SIGCHLD) {
      job.pass_on(signal, info.si_code == SI_KERNEL);
    }
  }
}

}  // namespace godwit
