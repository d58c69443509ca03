#include "dump/keeper_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "dump/keeper.h"
#include "kernel/error.h"
#include "kernel/pidfd.h"

namespace godwit::keeper {

namespace {

/// A keeper answers in microseconds, unless another dump speaks with it, or it has been stopped.
constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};

}  // namespace

std::unique_ptr<Client> Client::find(const TaskIdentity& root) {
  const std::string path = socket_path(root);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) {
    throw errno_error("cannot make a socket");
  }
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ECONNREFUSED) {
      ::unlink(path.c_str());  // it has been killed
      return nullptr;
    }
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) {
      return nullptr;
    }
    throw errno_error("cannot reach the keeper of write tracking at {}", path);
  }
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.uid != ::geteuid()) {
    return nullptr;
  }
  return std::unique_ptr<Client>(new Client(std::move(socket)));
}

std::unique_ptr<Client> Client::find_or_start(const TaskIdentity& root) {
  std::unique_ptr<Client> found = find(root);
  return found ? std::move(found) : std::unique_ptr<Client>(new Client(start(root)));
}

Client::Client(Fd socket) : socket_(std::move(socket)) {
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  for (;;) {
    std::optional<Received> received = receive(socket_.get());
    if (!received) {
      throw error("the keeper of write tracking has ended");
    }
    const Message& message = received->message;
    if (message.kind == Message::Kind::End) {
      return;
    }
    if (message.kind == Message::Kind::Kept && received->descriptors.size() == 1) {
      spaces_[message.task] = {std::move(received->descriptors.front()), message.base};
    }
  }
}

const Client::Space* Client::space(const TaskIdentity& task) const {
  const auto found = spaces_.find(task);
  return found == spaces_.end() ? nullptr : &found->second;
}

void Client::expect_done() {
  const std::optional<Received> received = receive(socket_.get());
  if (!received || received->message.kind != Message::Kind::Done) {
    throw error("the keeper of write tracking has ended");
  }
  if (received->message.error != 0) {
    throw Error("the keeper of write tracking can't make its socket in /run/godwit", received->message.error);
  }
}

void Client::forget_bases() {
  for (auto& [task, space] : spaces_) {
    if (space.base.object != 0) {
      send(socket_.get(), {.kind = Message::Kind::Forget, .task = task});
      expect_done();
      space.base = {};
    }
  }
}

void Client::hold(const TaskIdentity& task, Fd userfaultfd) {
  const Fd pidfd = open_pidfd(task.pid);
  send(socket_.get(), {.kind = Message::Kind::Hold, .task = task}, {userfaultfd.get(), pidfd.get()});
  spaces_[task] = {std::move(userfaultfd), {}};
}

void Client::settle(const TaskIdentity& task, const Base& base) {
  send(socket_.get(), {.kind = Message::Kind::Settle, .task = task, .base = base});
}

void Client::commit() {
  send(socket_.get(), {.kind = Message::Kind::Commit});
  expect_done();
}

}  // namespace godwit::keeper
