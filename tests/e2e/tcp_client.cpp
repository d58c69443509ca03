#include "tests/e2e/tcp_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "kernel/error.h"
#include "tests/e2e/harness.h"

namespace godwit::e2e {

namespace {

constexpr size_t kAtOnce = 16384;

char byte_at(uint64_t at) {
  return static_cast<char>(at * 2654435761U >> 13 ^ at);
}

}  // namespace

TcpClient::TcpClient(const std::string& host, uint16_t port) {
  sockaddr_in in{};
  sockaddr_in6 in6{};
  const bool six = host.find(':') != std::string::npos;
  in.sin_family = AF_INET;
  in6.sin6_family = AF_INET6;
  in.sin_port = in6.sin6_port = htons(port);
  void* address = six ? static_cast<void*>(&in6.sin6_addr) : &in.sin_addr;
  const auto* name = six ? reinterpret_cast<const sockaddr*>(&in6) : reinterpret_cast<const sockaddr*>(&in);
  socket_ = Fd(::socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::inet_pton(six ? AF_INET6 : AF_INET, host.c_str(), address) != 1 ||
      ::connect(socket_.get(), name, six ? sizeof in6 : sizeof in) != 0) {
    throw errno_error("cannot connect to {} port {}", host, port);
  }
  thread_ = std::thread([this] { run(); });
}

TcpClient::~TcpClient() {
  ::shutdown(socket_.get(), SHUT_RDWR);
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool TcpClient::advances(uint64_t bytes) {
  const uint64_t wanted = returned_ + bytes;
  return wait_until([&] { return returned_ >= wanted || ended_; }) && returned_ >= wanted;
}

std::string TcpClient::finish() {
  last_ = true;
  thread_.join();
  if (!failure_.empty()) {
    return failure_;
  }
  return returned_ == sent_ ? "pass"
                            : fmt::format("{} bytes were sent, {} came back", sent_, returned_.load());
}

void TcpClient::run() {
  constexpr int kPatienceMs = 60000;
  bool closed = false;
  for (bool more = true; more && failure_.empty();) {
    if (last_ && !closed) {
      ::shutdown(socket_.get(), SHUT_WR);
      closed = true;
    }
    pollfd ready{socket_.get(), static_cast<short>(closed ? POLLIN : POLLIN | POLLOUT), 0};
    if (::poll(&ready, 1, kPatienceMs) == 0) {
      failure_ = "nothing has come for a minute";
    } else if ((ready.revents & ~POLLOUT) != 0) {
      more = take_some();
      if (!more && !closed) {
        failure_ = "the other end closed the connection";
      }
    } else {
      send_some();
    }
  }
  ended_ = true;
}

void TcpClient::send_some() {
  std::array<char, kAtOnce> data;
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = byte_at(sent_ + i);
  }
  const ssize_t sent = ::send(socket_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0) {
    sent_ += static_cast<uint64_t>(sent);
  } else if (errno != EAGAIN) {
    failure_ = errno_error("cannot send").what();
  }
}

bool TcpClient::take_some() {
  std::array<char, kAtOnce> data;
  const ssize_t got = ::recv(socket_.get(), data.data(), data.size(), MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN) {
    failure_ = errno_error("cannot receive").what();
  }
  for (ssize_t i = 0; i < got; ++i, ++returned_) {
    if (data[static_cast<size_t>(i)] != byte_at(returned_)) {
      failure_ = fmt::format("byte {} is wrong", returned_.load());
      return false;
    }
  }
  return got != 0;
}

}  // namespace godwit::e2e
