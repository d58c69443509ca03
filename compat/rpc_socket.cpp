#include "compat/rpc_socket.h"

#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit::compat {

namespace {

constexpr size_t kMaxRequest = 1 << 20;

int socket_type(int fd) {
  int type = 0;
  socklen_t size = sizeof(type);
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 ? type : -1;
}

}  // namespace

RpcSocket::RpcSocket(Fd socket) : socket_(std::move(socket)) {
  if (socket_type(socket_.get()) != SOCK_SEQPACKET) {
    throw error("descriptor {} isn't a SOCK_SEQPACKET socket", socket_.get());
  }
  // Scripts have no business with it.
  if (::fcntl(socket_.get(), F_SETFD, FD_CLOEXEC) != 0) {
    throw errno_error("cannot keep descriptor {} to ourselves", socket_.get());
  }
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw errno_error("cannot tell who the client is");
  }
  client_ = peer.pid;
}

bool RpcSocket::receive(rpc::Request& request, unsigned heeded) const {
  wait_readable(socket_.get(), heeded);
  // The length first: MSG_PEEK with MSG_TRUNC tells it (man 2 recv).
  const ssize_t length = ::recv(socket_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC);
  if (length < 0) {
    throw errno_error("cannot receive a request");
  }
  if (length == 0) {
    return false;
  }
  if (static_cast<size_t>(length) > kMaxRequest) {
    throw error("a request of {} bytes is too long", length);
  }
  std::vector<char> buffer(static_cast<size_t>(length));
  if (::recv(socket_.get(), buffer.data(), buffer.size(), 0) != length) {
    throw errno_error("cannot receive a request");
  }
  const google::protobuf::LogSilencer silence;
  if (!request.ParseFromArray(buffer.data(), static_cast<int>(buffer.size()))) {
    throw Error("a request isn't well-formed", EBADMSG);
  }
  return true;
}

void RpcSocket::send(const rpc::Response& response, int descriptor) const {
  std::string message = response.SerializeAsString();
  iovec text{message.data(), message.size()};
  msghdr whole{};
  whole.msg_iov = &text;
  whole.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof descriptor)> room{};
  if (descriptor >= 0) {
    whole.msg_control = room.data();
    whole.msg_controllen = room.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&whole);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  while (::sendmsg(socket_.get(), &whole, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) {
      throw errno_error("cannot answer the client");
    }
    check_cancelled();
  }
}

}  // namespace godwit::compat
