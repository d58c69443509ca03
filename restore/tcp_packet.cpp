#include "restore/tcp_packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace godwit {

namespace {

// Headers as RFC 791, RFC 8200 and RFC 9293 have them.
constexpr size_t kTcpBytes = 20;
constexpr size_t kIpBytes = 20;
constexpr uint8_t kHops = 64;
constexpr uint8_t kFin = 0x01;
constexpr uint8_t kReset = 0x04;
constexpr uint8_t kAcknowledge = 0x10;

/// Bytes in network order.
class Bytes {
 public:
  Bytes& u8(uint8_t value) {
    text_.push_back(static_cast<char>(value));
    return *this;
  }
  Bytes& u16(uint16_t value) { return u8(static_cast<uint8_t>(value >> 8)).u8(static_cast<uint8_t>(value)); }
  Bytes& u32(uint32_t value) {
    return u16(static_cast<uint16_t>(value >> 16)).u16(static_cast<uint16_t>(value));
  }
  Bytes& raw(const void* data, size_t size) {
    text_.append(static_cast<const char*>(data), size);
    return *this;
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// The internet checksum of an even number of bytes: RFC 1071.
uint16_t checksum(const std::string& data) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < data.size(); i += 2) {
    sum += static_cast<uint32_t>(static_cast<uint8_t>(data[i]) << 8 | static_cast<uint8_t>(data[i + 1]));
  }
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(~sum);
}

std::string addresses(const TcpTuple& connection) {
  const size_t size = connection.address_size();
  return Bytes().raw(connection.remote.data(), size).raw(connection.local.data(), size).text();
}

std::string tcp_header(const TcpTuple& connection, const TcpSegment& segment, uint16_t sum) {
  const auto flags =
      static_cast<uint8_t>(kAcknowledge | (segment.fin ? kFin : 0) | (segment.reset ? kReset : 0));
  return Bytes()
      .raw(&connection.remote_port, sizeof connection.remote_port)
      .raw(&connection.local_port, sizeof connection.local_port)
      .u32(segment.sequence)
      .u32(segment.acknowledged)
      .u8(kTcpBytes / 4 << 4)
      .u8(flags)
      .u16(segment.window)
      .u16(sum)
      .u16(0)
      .text();
}

std::string ip_header(const TcpTuple& connection, uint16_t sum) {
  return Bytes()
             .u8(4 << 4 | kIpBytes / 4)
             .u8(0)
             .u16(kIpBytes + kTcpBytes)
             .u32(0)
             .u8(kHops)
             .u8(IPPROTO_TCP)
             .u16(sum)
             .text() +
         addresses(connection);
}

std::string ip6_header(const TcpTuple& connection) {
  return Bytes().u32(6U << 28).u16(kTcpBytes).u8(IPPROTO_TCP).u8(kHops).text() + addresses(connection);
}

}  // namespace

std::string packet_from_peer(const TcpTuple& connection, const TcpSegment& segment) {
  // The sum covers a made-up header, too, which is as good as this for both families.
  const std::string before = addresses(connection) + Bytes().u32(kTcpBytes).u32(IPPROTO_TCP).text();
  const std::string tcp =
      tcp_header(connection, segment, checksum(before + tcp_header(connection, segment, 0)));
  if (connection.family == AF_INET6) {
    return ip6_header(connection) + tcp;
  }
  return ip_header(connection, checksum(ip_header(connection, 0))) + tcp;
}

}  // namespace godwit
