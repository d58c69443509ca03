#pragma once

#include <cstdint>
#include <string>

#include "kernel/tcp_tuple.h"

namespace godwit {

/// What a segment without data says.
struct TcpSegment {
  uint32_t sequence = 0;
  uint32_t acknowledged = 0;
  uint16_t window = 0;  // scaled already
  bool fin = false;
  bool reset = false;
};

/// A packet with IP and TCP headers, as the other end of a connection would send it to us.
[[nodiscard]] std::string packet_from_peer(const TcpTuple& connection, const TcpSegment& segment);

}  // namespace godwit
