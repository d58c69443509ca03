#include "compat/notifier.h"

#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "compat/at_last.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/pidfd.h"

namespace godwit::compat {

namespace {

constexpr int kGraceMs = 5000;

/// Signals as a program expects them, in a process group of its own.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    const sigset_t ignored = signals_ignored_here();
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &ignored);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

/// Ends with its owner, and what it runs with it: it leads a process group.
class RunningScript {
 public:
  explicit RunningScript(pid_t pid) : pid_(pid) {}
  RunningScript(const RunningScript&) = delete;
  RunningScript& operator=(const RunningScript&) = delete;
  ~RunningScript() {
    if (pid_ != 0) {
      end();
    }
  }

  /// Until it has ended; its status (man 2 waitpid). Throws Error if a signal asks for an end meanwhile.
  int wait(unsigned heeded) {
    pidfd_ = open_pidfd(pid_);
    wait_readable(pidfd_.get(), heeded);
    int status = 0;
    if (!reap(status)) {
      throw errno_error("cannot tell how it ended");
    }
    return status;
  }

 private:
  /// SIGKILL if it doesn't heed SIGTERM in good time, or if whoever wants it to end asks again.
  void end() noexcept {
    ::kill(-pid_, SIGTERM);
    pollfd waited{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&waited, 1, kGraceMs);
    ::kill(-pid_, SIGKILL);
    int status = 0;
    reap(status);
  }

  bool reap(int& status) noexcept {
    pid_t reaped = 0;
    while ((reaped = ::waitpid(pid_, &status, 0)) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return reaped > 0;
  }

  pid_t pid_;
  Fd pidfd_;
};

std::vector<std::string> environment(std::string_view moment, const std::string& images, pid_t root) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("CRTOOLS_")) {
      variables.emplace_back(*variable);
    }
  }
  variables.push_back(fmt::format("CRTOOLS_SCRIPT_ACTION={}", moment));
  variables.push_back("CRTOOLS_IMAGE_DIR=" + images);
  variables.push_back(fmt::format("CRTOOLS_VERSION={}.{}", PeerVersion::kMajor, PeerVersion::kMinor));
  if (root != 0) {
    variables.push_back(fmt::format("CRTOOLS_INIT_PID={}", root));
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

void Notifier::tell(std::string_view moment, pid_t root) const {
  tell(moment, root, 0);
}

void Notifier::tell_at_last(std::string_view moment, pid_t root) const noexcept {
  at_last([&] { tell(moment, root, termination_signals()); });
}

void Notifier::tell(std::string_view moment, pid_t root, unsigned heeded) const {
  log::debug("{}: scripts and client are told", moment);
  for (const std::string& script : scripts_) {
    run(script, moment, root, heeded);
  }
  if (ask_) {
    ask_({.moment = moment, .root = root, .heeded = heeded});
  }
}

void Notifier::ask(std::string_view moment, pid_t root) const {
  if (ask_) {
    ask_({.moment = moment, .root = root});
  }
}

void Notifier::hand_over(std::string_view moment, int descriptor) const {
  log::debug("{}: the client gets a descriptor", moment);
  ask_({.moment = moment, .descriptor = descriptor});
}

void Notifier::run(const std::string& script, std::string_view moment, pid_t root, unsigned heeded) const {
  std::vector<std::string> arguments{"/bin/sh", "-c", script};
  std::vector<std::string> variables = environment(moment, images_path_, root);
  pid_t pid = 0;
  if (const int code = ::posix_spawn(&pid, "/bin/sh", nullptr, SpawnAttributes().get(),
                                     pointers(arguments).data(), pointers(variables).data());
      code != 0) {
    throw Error(fmt::format("cannot start the action script '{}'", script), code);
  }
  RunningScript running(pid);
  const int status = with_context([&] { return fmt::format("the action script '{}' at {}", script, moment); },
                                  [&] { return running.wait(heeded); });
  if (status != 0) {
    throw WIFEXITED(status)
        ? error("the action script '{}' failed at {} with exit code {}", script, moment, WEXITSTATUS(status))
        : error("the action script '{}' was ended at {} by signal {}", script, moment, WTERMSIG(status));
  }
}

}  // namespace godwit::compat
