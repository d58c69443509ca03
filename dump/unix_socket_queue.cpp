#include "dump/unix_socket_queue.h"

#include <poll.h>
#include <sys/socket.h>

#include "dump/socket_options.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr size_t kFirstBuffer = 65536;

/// Makes MSG_PEEK walk through the queue (SO_PEEK_OFF, socket(7)), and puts back what was set before.
class PeekOffset {
 public:
  PeekOffset(int socket, const std::string& name)
      : socket_(socket), before_(socket_option(socket, SOL_SOCKET, SO_PEEK_OFF, name)) {
    set(0);
  }
  PeekOffset(const PeekOffset&) = delete;
  PeekOffset& operator=(const PeekOffset&) = delete;
  ~PeekOffset() {
    static_cast<void>(::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &before_, sizeof before_));
  }

  void set(int offset) const {
    if (::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) != 0) {
      throw errno_error("cannot set SO_PEEK_OFF");
    }
  }

 private:
  int socket_;
  int before_;
};

bool is_empty(int socket) {
  pollfd poll{socket, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 0 || (poll.revents & POLLIN) == 0;
}

}  // namespace

std::vector<std::string> peek_unix_socket_queue(int socket, int type, const std::string& name) {
  std::vector<std::string> queue;
  if (is_empty(socket)) {
    return queue;
  }
  if (socket_option(socket, SOL_SOCKET, SO_PASSCRED, name) != 0) {
    throw refusal("{} with messages that carry credentials", name);
  }
  const PeekOffset peek(socket, name);
  std::string buffer(kFirstBuffer, '\0');
  int offset = 0;
  for (;;) {
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t got = ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) {
      if (errno == EAGAIN || errno == ECONNRESET) {
        return queue;
      }
      throw errno_error("cannot look into the queue of {}", name);
    }
    // Without room for control data descriptors stay where they are, and are only told of.
    if ((header.msg_flags & MSG_CTRUNC) != 0) {
      throw refusal("{} with descriptors in flight (SCM_RIGHTS)", name);
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) {
      buffer.resize(static_cast<size_t>(got));
      peek.set(offset);
      continue;
    }
    // The end of a stream or of a connection; a datagram may be empty, but is not the last then.
    if (got == 0 && (type != SOCK_DGRAM || is_empty(socket))) {
      return queue;
    }
    queue.emplace_back(buffer.data(), static_cast<size_t>(got));
    offset += static_cast<int>(got);
  }
}

}  // namespace godwit
