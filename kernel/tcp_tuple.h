#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace godwit {

/// A TCP connection as its packets name it, seen from one end. IPv4 addresses fill the first four bytes.
struct TcpTuple {
  sa_family_t family = AF_INET;  // of the packets: AF_INET also for an IPv6 socket with mapped addresses
  std::array<uint8_t, 16> local{};
  std::array<uint8_t, 16> remote{};
  uint16_t local_port = 0;  // network byte order
  uint16_t remote_port = 0;

  auto operator<=>(const TcpTuple&) const = default;

  [[nodiscard]] size_t address_size() const { return family == AF_INET ? 4 : 16; }
  /// As its other end sees it.
  [[nodiscard]] TcpTuple reversed() const { return {family, remote, local, remote_port, local_port}; }
  /// "10.0.0.1:80 and 10.0.0.2:4711"
  [[nodiscard]] std::string text() const;
};

/// From a struct sockaddr_in or sockaddr_in6 for either end, both of one family. Throws Error.
[[nodiscard]] TcpTuple tcp_tuple(std::string_view local, std::string_view remote);

}  // namespace godwit
