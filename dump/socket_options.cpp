#include "dump/socket_options.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "dump/tcp.h"
#include "kernel/error.h"
#include "kernel/tcp_state.h"

namespace godwit {

namespace {

// Newer than our headers, or not in them. See linux/tcp.h, linux/in.h, asm-generic/socket.h.
constexpr int kBufferLock = 72;          // SO_BUF_LOCK, Linux 5.14
constexpr int kIpLocalPortRange = 51;    // IP_LOCAL_PORT_RANGE, Linux 6.3
constexpr int kUdpSegment = 103;         // UDP_SEGMENT
constexpr int kUdpGro = 104;             // UDP_GRO
constexpr int kTcpUlp = 31;              // TCP_ULP
constexpr int kSendBufferLocked = 1;     // SOCK_SNDBUF_LOCK
constexpr int kReceiveBufferLocked = 2;  // SOCK_RCVBUF_LOCK

struct Option {
  int level;
  int name;
};

constexpr auto kAnySocket = std::to_array<Option>({
    {SOL_SOCKET, SO_REUSEADDR},    {SOL_SOCKET, SO_REUSEPORT},       {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST},    {SOL_SOCKET, SO_OOBINLINE},       {SOL_SOCKET, SO_DONTROUTE},
    {SOL_SOCKET, SO_LINGER},       {SOL_SOCKET, SO_PRIORITY},        {SOL_SOCKET, SO_MARK},
    {SOL_SOCKET, SO_RCVLOWAT},     {SOL_SOCKET, SO_RCVTIMEO},        {SOL_SOCKET, SO_SNDTIMEO},
    {SOL_SOCKET, SO_PASSCRED},     {SOL_SOCKET, SO_PASSSEC},         {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_TIMESTAMPNS},  {SOL_SOCKET, SO_TIMESTAMPING},    {SOL_SOCKET, SO_RXQ_OVFL},
    {SOL_SOCKET, SO_PEEK_OFF},     {SOL_SOCKET, SO_NOFCS},           {SOL_SOCKET, SO_SELECT_ERR_QUEUE},
    {SOL_SOCKET, SO_BUSY_POLL},    {SOL_SOCKET, SO_MAX_PACING_RATE}, {SOL_SOCKET, SO_ZEROCOPY},
    {SOL_SOCKET, SO_BINDTODEVICE},
});

constexpr auto kInternet = std::to_array<Option>({
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, IP_FREEBIND},
    {IPPROTO_IP, IP_TRANSPARENT},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVTTL},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_RECVORIGDSTADDR},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_IP, IP_MINTTL},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {IPPROTO_IP, kIpLocalPortRange},
});

constexpr auto kInternet6 = std::to_array<Option>({
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {IPPROTO_IPV6, IPV6_RECVTCLASS},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_DONTFRAG},
    {IPPROTO_IPV6, IPV6_FREEBIND},
    {IPPROTO_IPV6, IPV6_TRANSPARENT},
    {IPPROTO_IPV6, IPV6_RECVORIGDSTADDR},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL},
});

constexpr auto kMulticast = std::to_array<Option>({
    {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_MULTICAST_LOOP},
    {IPPROTO_IP, IP_MULTICAST_ALL},
});

constexpr auto kMulticast6 = std::to_array<Option>({
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {IPPROTO_IPV6, IPV6_MULTICAST_ALL},
});

constexpr auto kTcp = std::to_array<Option>({
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP},
    {IPPROTO_TCP, TCP_CONGESTION},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {IPPROTO_TCP, TCP_SAVE_SYN},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS},
});

/// Of a connection they say what has come of them, and can't be set any more.
constexpr auto kBeforeConnecting = std::to_array<Option>({
    {IPPROTO_TCP, TCP_MAXSEG},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT},
});

constexpr auto kUdp = std::to_array<Option>({
    {IPPROTO_UDP, UDP_CORK},
    {IPPROTO_UDP, UDP_ENCAP},
    {IPPROTO_UDP, UDP_NO_CHECK6_TX},
    {IPPROTO_UDP, UDP_NO_CHECK6_RX},
    {IPPROTO_UDP, kUdpSegment},
    {IPPROTO_UDP, kUdpGro},
});

struct Value {
  std::array<char, 64> bytes{};
  socklen_t size = sizeof bytes;

  [[nodiscard]] std::string_view view() const { return {bytes.data(), size}; }
};

/// Empty: this kind of socket doesn't have it.
std::optional<Value> get(int socket, Option option) {
  Value value;
  if (::getsockopt(socket, option.level, option.name, value.bytes.data(), &value.size) != 0) {
    return std::nullopt;
  }
  return value;
}

void add(image::SocketOptions& record, Option option, std::string_view value) {
  image::SocketOption& added = *record.add_option();
  added.set_level(option.level);
  added.set_name(option.name);
  added.set_value(value.data(), value.size());
}

void read_different(int socket, int reference, std::span<const Option> options,
                    image::SocketOptions& record) {
  for (const Option option : options) {
    const auto value = get(socket, option);
    if (!value) {
      continue;
    }
    const auto usual = get(reference, option);
    if (!usual || usual->view() != value->view()) {
      add(record, option, value->view());
    }
  }
}

/// The kernel grows buffers by itself; only sizes that somebody has asked for are kept, but of a connection
/// all, since what is in them must fit in again.
void read_buffers(int socket, bool connected, image::SocketOptions& record) {
  const auto locks = get(socket, {SOL_SOCKET, kBufferLock});
  int bits = kSendBufferLocked | kReceiveBufferLocked;
  if (locks) {
    std::memcpy(&bits, locks->bytes.data(), sizeof bits);
  }
  for (const auto& [bit, name] :
       {std::pair(kSendBufferLocked, SO_SNDBUF), std::pair(kReceiveBufferLocked, SO_RCVBUF)}) {
    const auto size = connected || (bits & bit) != 0 ? get(socket, {SOL_SOCKET, name}) : std::nullopt;
    if (size) {
      add(record, {SOL_SOCKET, name}, size->view());
    }
  }
  if (connected && locks) {
    add(record, {SOL_SOCKET, kBufferLock}, locks->view());
  }
}

/// Now, or some time ago.
bool is_tcp_connection(int socket, int type, int protocol) {
  if (type != SOCK_STREAM || protocol != IPPROTO_TCP) {
    return false;
  }
  return is_connection(state_of(tcp_info_of(socket))) || was_tcp_connection(socket);
}

void refuse_attachments(int socket, const std::string& name) {
  socklen_t size = 0;
  if (::getsockopt(socket, SOL_SOCKET, SO_GET_FILTER, nullptr, &size) != 0 ? errno == EACCES : size > 0) {
    throw refusal("{} with a packet filter (SO_ATTACH_FILTER)", name);
  }
  const auto ulp = get(socket, {IPPROTO_TCP, kTcpUlp});
  if (ulp && ulp->size > 0) {
    throw refusal("{} with an upper layer protocol (TCP_ULP)", name);
  }
}

}  // namespace

int socket_option(int socket, int level, int option, const std::string& name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, level, option, &value, &size) != 0) {
    throw errno_error("cannot get option {} of level {} of {}", option, level, name);
  }
  return value;
}

int SocketOptionReader::reference(int domain, int type, int protocol) {
  Fd& reference = references_[{domain, type, protocol}];
  if (!reference) {
    reference = Fd(::socket(domain, type | SOCK_CLOEXEC, protocol));
    if (!reference) {
      throw errno_error("cannot make a socket of family {}, type {}", domain, type);
    }
  }
  return reference.get();
}

void SocketOptionReader::read(int socket, const std::string& name, image::SocketOptions& record) {
  const int domain = socket_option(socket, SOL_SOCKET, SO_DOMAIN, name);
  const int type = socket_option(socket, SOL_SOCKET, SO_TYPE, name);
  const int protocol = socket_option(socket, SOL_SOCKET, SO_PROTOCOL, name);
  const int usual = reference(domain, type, protocol);
  struct stat status {};
  if (::fstat(socket, &status) != 0) {
    throw errno_error("cannot ask for the owner of {}", name);
  }
  record.set_uid(status.st_uid);
  record.set_gid(status.st_gid);
  refuse_attachments(socket, name);
  const bool connected = is_tcp_connection(socket, type, protocol);
  read_buffers(socket, connected, record);
  read_different(socket, usual, kAnySocket, record);
  const bool connects = type == SOCK_STREAM;  // an accepted connection has other multicast settings than a
                                              // new socket, which takes none
  if (domain == AF_INET || domain == AF_INET6) {
    read_different(socket, usual, kInternet, record);
    read_different(socket, usual, connects ? std::span<const Option>(kTcp) : kUdp, record);
    read_different(socket, usual, connects ? std::span<const Option>() : kMulticast, record);
    if (connects && !connected) {
      read_different(socket, usual, kBeforeConnecting, record);
    }
  }
  if (domain == AF_INET6) {
    read_different(socket, usual, kInternet6, record);
    read_different(socket, usual, connects ? std::span<const Option>() : kMulticast6, record);
  }
}

}  // namespace godwit
