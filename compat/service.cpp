#include "compat/service.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <utility>

#include "compat/notifier.h"
#include "compat/rpc_server.h"
#include "compat/status.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "program/pidfile.h"
#include "program/startup.h"

namespace godwit::compat {

namespace {

constexpr const char* kDefaultAddress = "/var/run/criu_service.socket";

/// A listening socket with a name in the file system, which goes away with it.
class Listener {
 public:
  explicit Listener(std::string path)
      : path_(std::move(path)), socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof(address.sun_path)) {
      throw Error(fmt::format("cannot listen at {}", path_), ENAMETOOLONG);
    }
    path_.copy(address.sun_path, path_.size());
    struct stat status {};
    if (::lstat(path_.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
      ::unlink(path_.c_str());
    }
    if (!socket_ ||
        ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(socket_.get(), kBacklog) != 0) {
      throw errno_error("cannot listen at {}", path_);
    }
  }
  ~Listener() { ::unlink(path_.c_str()); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Waits for a client while signals are handled. Empty: a signal came, or the client can't be had, now or
  /// ever (accept(2), "Error handling"): others will.
  [[nodiscard]] Fd accept(const sigset_t& while_waiting) {
    pollfd waited{socket_.get(), POLLIN, 0};
    if (::ppoll(&waited, 1, nullptr, &while_waiting) <= 0) {
      return {};
    }
    Fd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) {
      said_ = 0;
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN) {
      // Such as EMFILE: the client waits on, and nothing tells when it can be had.
      if (std::exchange(said_, errno) != errno) {
        log::write(log::Level::Error, errno_error("cannot accept a client at {}", path_).what());
      }
      ::ppoll(nullptr, 0, &kPause, &while_waiting);
    }
    return client;
  }
  void forget() { socket_.reset(); }

 private:
  static constexpr int kBacklog = 16;
  static constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 100'000'000};
  std::string path_;
  Fd socket_;
  int said_ = 0;  // errno of the last failure, which is only logged once
};

[[noreturn]] void serve_in_child(Fd client) {
  int code = 1;
  try {
    code = serve_client(std::move(client), StartedBy::Service);
  } catch (const std::exception& e) {
    log::write(log::Level::Error, e.what());
  }
  leave(code);
}

/// Signals that end the service, and those of its children, come only while it waits.
class SignalsWhileWaiting {
 public:
  SignalsWhileWaiting() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGCHLD, &action, nullptr);
    sigset_t held;
    sigemptyset(&held);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) {
      sigaddset(&held, signal);
    }
    ::sigprocmask(SIG_BLOCK, &held, &before_);
  }
  [[nodiscard]] const sigset_t& mask() const { return before_; }
  void leave_to_child() const {
    ::signal(SIGCHLD, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_{};
};

}  // namespace

int run_service(const Settings& settings) {
  Listener listener(settings.address.empty() ? kDefaultAddress : settings.address);
  if (settings.detach && ::daemon(1, 0) != 0) {
    throw errno_error("cannot go into the background");
  }
  Pidfile pidfile(settings.pidfile);
  if (!settings.pidfile.empty()) {
    pidfile.write(::getpid());
  }
  const SignalsWhileWaiting signals;
  Notifier(settings.action_scripts, settings.images_dir, nullptr).tell("status-ready", 0);
  tell_ready(settings.status_fd);
  while (termination_signal() == 0) {
    Fd client = listener.accept(signals.mask());
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (!client) {
      continue;
    }
    const pid_t child = ::fork();
    if (child < 0) {
      log::write(log::Level::Error, errno_error("cannot serve a client").what());
    } else if (child == 0) {
      listener.forget();
      signals.leave_to_child();
      serve_in_child(std::move(client));
    }
  }
  return 0;
}

}  // namespace godwit::compat
