// What workloads about TCP connections have in common: streams of numbered bytes.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <string>

#include "tests/workloads/descriptor.h"

namespace workload {

/// Byte number `at` of a stream.
inline char stream_byte(uint64_t at) {
  return static_cast<char>((at * 2654435761U) >> 13 ^ at);
}

/// Writes up to `most` bytes from number `at` of a stream; returns how many the kernel took.
inline size_t write_stream(int fd, uint64_t at, size_t most, int flags) {
  std::string data(most, '\0');
  for (size_t i = 0; i < most; ++i) {
    data[i] = stream_byte(at + i);
  }
  size_t done = 0;
  while (done < most) {
    const ssize_t sent = send(fd, data.data() + done, most - done, flags | MSG_NOSIGNAL);
    if (sent <= 0) {
      break;
    }
    done += static_cast<size_t>(sent);
  }
  return done;
}

/// The next `size` bytes of `fd` are those from number `at` of a stream on. Waits for them.
inline bool expect_stream(int fd, uint64_t at, size_t size, const char* what) {
  std::string data(65536, '\0');
  for (size_t done = 0; done < size;) {
    pollfd ready{fd, POLLIN, 0};
    const ssize_t got =
        poll(&ready, 1, 20000) == 1 ? recv(fd, data.data(), std::min(data.size(), size - done), 0) : -2;
    if (got <= 0) {
      fail("%s: %zu of %zu bytes, then %zd (%s)", what, done, size, got, strerror(errno));
      return false;
    }
    for (size_t i = 0; i < static_cast<size_t>(got); ++i) {
      if (data[i] != stream_byte(at + done + i)) {
        fail("%s: byte %llu is wrong", what, static_cast<unsigned long long>(at + done + i));
        return false;
      }
    }
    done += static_cast<size_t>(got);
  }
  return true;
}

/// Nothing more, and not the end either.
inline void expect_nothing(int fd, const char* what) {
  char byte = 0;
  const ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
  check(got == -1 && errno == EAGAIN, what);
}

inline int number_of(int fd, unsigned long request) {
  int value = -1;
  check(ioctl(fd, request, &value) == 0, "ioctl of a socket");
  return value;
}

inline int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  check(getsockopt(fd, level, name, &value, &size) == 0, "getsockopt");
  return value;
}

inline void set_option(int fd, int level, int name, int value) {
  must(setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

/// One of the two ends of a family: IPv4, IPv6, or an IPv6 socket with a mapped IPv4 address.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  Address() = default;
  Address(int family, const char* text, uint16_t port) {
    if (family == AF_INET) {
      auto* in = reinterpret_cast<sockaddr_in*>(&storage);
      *in = {};
      in->sin_family = AF_INET;
      in->sin_port = htons(port);
      inet_pton(AF_INET, text, &in->sin_addr);
      size = sizeof *in;
    } else {
      auto* in = reinterpret_cast<sockaddr_in6*>(&storage);
      *in = {};
      in->sin6_family = AF_INET6;
      in->sin6_port = htons(port);
      inet_pton(AF_INET6, text, &in->sin6_addr);
      size = sizeof *in;
    }
  }
  sockaddr* any() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  uint16_t port() {
    return ntohs(family() == AF_INET ? reinterpret_cast<sockaddr_in*>(&storage)->sin_port
                                     : reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port);
  }
};

inline Address name_of(int fd, bool peer) {
  Address address;
  address.size = sizeof address.storage;
  check((peer ? getpeername : getsockname)(fd, address.any(), &address.size) == 0, "name of a socket");
  return address;
}

inline bool same(const Address& a, const Address& b) {
  return a.size == b.size && memcmp(&a.storage, &b.storage, a.size) == 0;
}

inline int tcp_socket(int family) {
  return static_cast<int>(must(socket(family, SOCK_STREAM, 0), "socket"));
}

/// Listens at an address; port 0: any.
inline int listen_at(Address address, int backlog = 5) {
  const int listener = tcp_socket(address.family());
  must(bind(listener, address.any(), address.size), "bind");
  must(listen(listener, backlog), "listen");
  return listener;
}

struct Pair {
  int client;
  int server;
};

/// Two ends of a connection through a listener that is closed again.
inline Pair connect_pair(int family, const char* host) {
  const int listener = listen_at({family, host, 0});
  Address address = name_of(listener, false);
  Pair pair{};
  pair.client = tcp_socket(family);
  must(connect(pair.client, address.any(), address.size), "connect");
  pair.server = static_cast<int>(must(accept(listener, nullptr, nullptr), "accept"));
  close(listener);
  return pair;
}

}  // namespace workload
