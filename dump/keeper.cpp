#include "dump/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <map>
#include <vector>

#include "dump/keeper_protocol.h"
#include "kernel/error.h"

namespace godwit::keeper {

namespace {

/// Where others find this keeper. It gets its name when it listens already: whoever finds one where nobody
/// listens knows that its keeper has been killed.
class Address {
 public:
  explicit Address(const TaskIdentity& root) : name_(socket_path(root)) {}
  Address(const Address&) = delete;
  Address& operator=(const Address&) = delete;
  ~Address() {
    if (socket_) {
      ::unlink(name_.c_str());
    }
  }

  void listen() {
    if (socket_) {
      return;
    }
    if (::mkdir(kDirectory, 0700) != 0 && errno != EEXIST) {
      throw errno_error("cannot make {}", kDirectory);
    }
    const std::string unnamed = fmt::format("{}/new-{}", kDirectory, ::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    unnamed.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ::unlink(unnamed.c_str());
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::chmod(unnamed.c_str(), 0600) != 0 || ::listen(socket.get(), SOMAXCONN) != 0 ||
        ::rename(unnamed.c_str(), name_.c_str()) != 0) {
      const int code = errno;
      ::unlink(unnamed.c_str());
      throw Error(fmt::format("cannot listen at {}", name_), code);
    }
    socket_ = std::move(socket);
  }

  /// Of our own user; nobody else could reach the directory.
  [[nodiscard]] Fd accept() const {
    Fd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ucred peer{};
    socklen_t length = sizeof(peer);
    if (client && (::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
                   peer.uid != ::geteuid())) {
      client.reset();
    }
    return client;
  }

  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  std::string name_;
  Fd socket_;
};

class Keeper {
 public:
  Keeper(const TaskIdentity& root, Fd first_conversation)
      : address_(root), client_(std::move(first_conversation)) {
    greet();
  }

  void run() {
    do {
      wait();
    } while (client_ || !spaces_.empty());
  }

 private:
  struct Space {
    Fd userfaultfd;
    Fd task;  // pidfd
    Base base;
  };
  using Spaces = std::map<TaskIdentity, Space>;

  /// Until somebody says something, or a task ends.
  void wait() {
    std::vector<pollfd> polled{{client_ ? client_.get() : address_.fd(), POLLIN, 0}};
    std::vector<TaskIdentity> tasks;
    for (const auto& [task, space] : spaces_) {
      polled.push_back({space.task.get(), POLLIN, 0});
      tasks.push_back(task);
    }
    while (::poll(polled.data(), polled.size(), -1) < 0) {
      if (errno != EINTR) {
        throw errno_error("cannot wait");
      }
    }
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (polled[i + 1].revents != 0) {
        spaces_.erase(tasks[i]);
      }
    }
    if (polled[0].revents == 0) {
      return;
    }
    if (!client_) {
      client_ = address_.accept();
      greet();
      return;
    }
    try {
      hear();
    } catch (const Error&) {
      hang_up();
    }
  }

  void greet() {
    if (!client_) {
      return;
    }
    try {
      for (const auto& [task, space] : spaces_) {
        send(client_.get(), {.kind = Message::Kind::Kept, .task = task, .base = space.base},
             {space.userfaultfd.get()});
      }
      send(client_.get(), {.kind = Message::Kind::End});
    } catch (const Error&) {
      hang_up();
    }
  }

  void hear() {
    std::optional<Received> received = receive(client_.get());
    if (!received) {
      hang_up();
      return;
    }
    const Message& message = received->message;
    switch (message.kind) {
      case Message::Kind::Hold:
        if (received->descriptors.size() == 2) {
          Space& space = held_[message.task];
          space.userfaultfd = std::move(received->descriptors[0]);
          space.task = std::move(received->descriptors[1]);
        }
        return;
      case Message::Kind::Settle:
        settled_[message.task] = message.base;
        return;
      case Message::Kind::Forget:
        if (const auto found = spaces_.find(message.task); found != spaces_.end()) {
          found->second.base = {};
        }
        send(client_.get(), {.kind = Message::Kind::Done});
        return;
      case Message::Kind::Commit:
        send(client_.get(), {.kind = Message::Kind::Done, .error = commit()});
        return;
      default:
        hang_up();
    }
  }

  /// 0 or an errno.
  int commit() {
    try {
      address_.listen();
    } catch (const Error& e) {
      return e.code();
    }
    for (auto& [task, space] : held_) {
      spaces_[task] = std::move(space);
    }
    held_.clear();
    for (const auto& [task, base] : settled_) {
      if (const auto found = spaces_.find(task); found != spaces_.end()) {
        found->second.base = base;
      }
    }
    settled_.clear();
    return 0;
  }

  void hang_up() {
    client_.reset();
    held_.clear();
    settled_.clear();
  }

  Address address_;
  Fd client_;  // one at a time
  Spaces spaces_;
  Spaces held_;  // not committed yet
  std::map<TaskIdentity, Base> settled_;
};

/// Nothing of whoever started it is held on to: not its pipes, nor its locks.
void leave_maker(int socket) {
  ::setsid();
  constexpr int kKept = 3;
  const int null = ::open("/dev/null", O_RDWR);
  // The socket must not be where another is about to be put.
  const int aside = ::fcntl(socket, F_DUPFD, kKept + 1);
  for (int fd = 0; fd < kKept; ++fd) {
    ::dup2(null, fd);
  }
  ::dup2(aside, kKept);
  ::close_range(kKept + 1, ~0U, 0);
  ::fcntl(kKept, F_SETFD, FD_CLOEXEC);
  if (::chdir("/") != 0) {
    ::_exit(1);
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    ::signal(signal, SIG_DFL);
  }
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ::prctl(PR_SET_NAME, "godwit-keeper");
}

[[noreturn]] void be_keeper(const TaskIdentity& root, int socket) {
  leave_maker(socket);
  // Somebody else's child, so that nobody has to wait for it. Its maker waits until it has let go of all.
  if (::fork() != 0) {
    ::_exit(0);
  }
  try {
    Keeper(root, Fd(3)).run();
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace

Fd start(const TaskIdentity& root) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw errno_error("cannot make a socket for the keeper of write tracking");
  }
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    be_keeper(root, theirs.get());
  }
  if (child < 0) {
    throw errno_error("cannot start the keeper of write tracking");
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return ours;
}

}  // namespace godwit::keeper
