#include "kernel/tcp_repair.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "kernel/error.h"

namespace godwit {

namespace {

int number(int socket, int level, int option, const char* what) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, level, option, &value, &size) != 0) {
    throw errno_error("cannot ask for {}", what);
  }
  return value;
}

void set(int socket, int level, int option, int value, const char* what) {
  if (::setsockopt(socket, level, option, &value, sizeof value) != 0) {
    throw errno_error("cannot set {}", what);
  }
}

}  // namespace

TcpRepair::TcpRepair(int socket)
    : socket_(socket), reuse_address_(number(socket, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR")) {
  set(socket_, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON, "TCP_REPAIR");
}

TcpRepair::~TcpRepair() {
  if (!kept_) {
    try {
      end_tcp_repair(socket_, reuse_address_);
    } catch (const Error&) {
      // It could be begun, so it can be ended.
    }
  }
}

void TcpRepair::choose(TcpQueue queue) {
  set(socket_, IPPROTO_TCP, TCP_REPAIR_QUEUE, static_cast<int>(queue), "TCP_REPAIR_QUEUE");
}

uint32_t TcpRepair::end_of(TcpQueue queue) {
  choose(queue);
  return static_cast<uint32_t>(number(socket_, IPPROTO_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ"));
}

size_t TcpRepair::peek(TcpQueue queue, char* buffer, size_t most) {
  choose(queue);
  const ssize_t got = ::recv(socket_, buffer, most, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN) {
    throw errno_error("cannot look at the {} queue", queue == TcpQueue::Send ? "send" : "receive");
  }
  return got < 0 ? 0 : static_cast<size_t>(got);
}

TcpWindow TcpRepair::window() const {
  tcp_repair_window window{};
  socklen_t size = sizeof window;
  if (::getsockopt(socket_, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &size) != 0) {
    throw errno_error("cannot ask for TCP_REPAIR_WINDOW");
  }
  return {window.snd_wl1, window.snd_wnd, window.max_window, window.rcv_wnd, window.rcv_wup};
}

uint32_t TcpRepair::timestamp() const {
  return static_cast<uint32_t>(number(socket_, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"));
}

uint32_t TcpRepair::segment_size() const {
  return static_cast<uint32_t>(number(socket_, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
}

void end_tcp_repair(int socket, int reuse_address) {
  set(socket, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF, "TCP_REPAIR");
  set(socket, SOL_SOCKET, SO_REUSEADDR, reuse_address, "SO_REUSEADDR");
}

}  // namespace godwit
