#include "kernel/tcp_tuple.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr size_t kMappedPrefix = 12;  // of ::ffff:a.b.c.d

struct End {
  sa_family_t family = AF_UNSPEC;
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;
};

End read(std::string_view name) {
  End end;
  if (name.size() == sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, name.data(), sizeof in);
    end.family = AF_INET;
    std::memcpy(end.address.data(), &in.sin_addr, sizeof in.sin_addr);
    end.port = in.sin_port;
    return end;
  }
  if (name.size() != sizeof(sockaddr_in6)) {
    throw error("an internet address of {} bytes", name.size());
  }
  sockaddr_in6 in{};
  std::memcpy(&in, name.data(), sizeof in);
  end.family = IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) ? AF_INET : AF_INET6;
  const size_t skip = end.family == AF_INET ? kMappedPrefix : 0;
  std::memcpy(end.address.data(), in.sin6_addr.s6_addr + skip, sizeof in.sin6_addr - skip);
  end.port = in.sin6_port;
  return end;
}

std::string text_of(sa_family_t family, const std::array<uint8_t, 16>& address, uint16_t port) {
  std::array<char, INET6_ADDRSTRLEN> host{};
  ::inet_ntop(family, address.data(), host.data(), host.size());
  return family == AF_INET ? fmt::format("{}:{}", host.data(), ntohs(port))
                           : fmt::format("[{}]:{}", host.data(), ntohs(port));
}

}  // namespace

std::string TcpTuple::text() const {
  return fmt::format("{} and {}", text_of(family, local, local_port), text_of(family, remote, remote_port));
}

TcpTuple tcp_tuple(std::string_view local, std::string_view remote) {
  const End here = read(local);
  const End there = read(remote);
  if (here.family != there.family) {
    throw error("a connection between addresses of two families");
  }
  return {here.family, here.address, there.address, here.port, there.port};
}

}  // namespace godwit
