// Internet sockets: listening, bound, unbound, with their options.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  check(getsockopt(fd, level, name, &value, &size) == 0, "getsockopt");
  return value;
}

void set(int fd, int level, int name, int value) {
  must(setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const int listener = static_cast<int>(must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket"));
  set(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(listener, IPPROTO_TCP, TCP_NODELAY, 1);
  set(listener, SOL_SOCKET, SO_RCVBUF, 50000);
  const int buffer = option(listener, SOL_SOCKET, SO_RCVBUF);
  must(bind(listener, any, size), "bind");
  must(listen(listener, 5), "listen");
  must(getsockname(listener, any, &size), "getsockname");
  const int udp = static_cast<int>(must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  must(bind(udp, any, size), "bind");
  set(udp, IPPROTO_IP, IP_TTL, 33);
  ip_mreqn membership{};
  membership.imr_ifindex = 1;  // lo
  membership.imr_multiaddr.s_addr = htonl(0xefff0102);
  must(setsockopt(udp, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership), "IP_ADD_MEMBERSHIP");
  const int udp6 = static_cast<int>(must(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  ipv6_mreq membership6{};
  membership6.ipv6mr_interface = 1;
  inet_pton(AF_INET6, "ff12::4567", &membership6.ipv6mr_multiaddr);
  must(setsockopt(udp6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &membership6, sizeof membership6), "join");
  must(setsockopt(udp6, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership), "join");
  const int six = static_cast<int>(must(socket(AF_INET6, SOCK_STREAM, 0), "socket"));
  set(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);

  say_ready();
  wait_to_go_on();
  check_equal(option(listener, SOL_SOCKET, SO_KEEPALIVE), 1, "SO_KEEPALIVE");
  check_equal(option(listener, IPPROTO_TCP, TCP_NODELAY), 1, "TCP_NODELAY");
  check_equal(option(listener, SOL_SOCKET, SO_REUSEADDR), 0, "SO_REUSEADDR");
  check_equal(option(listener, SOL_SOCKET, SO_RCVBUF), buffer, "SO_RCVBUF");
  check_equal(option(udp, IPPROTO_IP, IP_TTL), 33, "IP_TTL");
  check_equal(option(six, IPPROTO_IPV6, IPV6_V6ONLY), 1, "IPV6_V6ONLY");
  // Once more in a group is once too often.
  const auto is_member = [&](int fd, int level, int name, const void* what, size_t bytes) {
    check(setsockopt(fd, level, name, what, static_cast<socklen_t>(bytes)) == -1 && errno == EADDRINUSE,
          "multicast membership");
  };
  is_member(udp, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership);
  is_member(udp6, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership);
  is_member(udp6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &membership6, sizeof membership6);
  check((fcntl(listener, F_GETFL) & O_NONBLOCK) != 0, "O_NONBLOCK");
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  check(connect(client, any, size) == 0, "connect");
  const int server = accept(listener, nullptr, nullptr);
  check(write_text(client, "hello"), "write");
  expect_text(server, "hello", "through the listener");
  const int sender = socket(AF_INET, SOCK_DGRAM, 0);
  check(sendto(sender, "ping", 4, 0, any, size) == 4, "sendto");
  expect_text(udp, "ping", "a datagram");
  finish();
}
