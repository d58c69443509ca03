#include "kernel/tcp_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {

std::string peer_of(const inet_diag_msg& message) {
  if (message.idiag_family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = message.id.idiag_dport;
    std::memcpy(&in.sin_addr, message.id.idiag_dst, sizeof in.sin_addr);
    return {reinterpret_cast<const char*>(&in), sizeof in};
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = message.id.idiag_dport;
  std::memcpy(&in.sin6_addr, message.id.idiag_dst, sizeof in.sin6_addr);
  in.sin6_scope_id = IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr) ? message.id.idiag_if : 0;
  return {reinterpret_cast<const char*>(&in), sizeof in};
}

TcpSocketInfo parse(const netlink::Message& answer) {
  inet_diag_msg message{};
  std::memcpy(&message, answer.payload.data(), std::min(sizeof message, answer.payload.size()));
  TcpSocketInfo info;
  info.inode = message.idiag_inode;
  info.state = static_cast<TcpState>(message.idiag_state);
  info.remote = peer_of(message);
  info.has_md5_keys = !answer.attribute(sizeof message, INET_DIAG_MD5SIG).empty();
  return info;
}

inet_diag_req_v2 question(int family) {
  inet_diag_req_v2 asked{};
  asked.sdiag_family = static_cast<uint8_t>(family);
  asked.sdiag_protocol = IPPROTO_TCP;
  asked.id.idiag_cookie[0] = asked.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return asked;
}

/// An IPv6 socket knows IPv4 addresses as mapped ones.
void put(__be32* to, int family, const TcpTuple& tuple, const std::array<uint8_t, 16>& address) {
  auto* bytes = reinterpret_cast<uint8_t*>(to);
  if (family == AF_INET6 && tuple.family == AF_INET) {
    bytes[10] = bytes[11] = 0xff;
    bytes += 12;
  }
  std::copy_n(address.begin(), tuple.address_size(), bytes);
}

inet_diag_req_v2 question(int family, const TcpTuple& tuple) {
  inet_diag_req_v2 asked = question(family);
  asked.idiag_states = ~0U;
  asked.id.idiag_sport = tuple.local_port;
  asked.id.idiag_dport = tuple.remote_port;
  put(asked.id.idiag_src, family, tuple, tuple.local);
  put(asked.id.idiag_dst, family, tuple, tuple.remote);
  return asked;
}

}  // namespace

TcpDiag::TcpDiag() : connection_(NETLINK_SOCK_DIAG) {}

std::vector<TcpSocketInfo> TcpDiag::list(int family, TcpState state) {
  inet_diag_req_v2 asked = question(family);
  asked.idiag_states = 1U << static_cast<unsigned>(state);
  netlink::Request request(SOCK_DIAG_BY_FAMILY);
  request.fixed(asked);
  std::vector<TcpSocketInfo> found;
  connection_.dump(request, [&](const netlink::Message& message) { found.push_back(parse(message)); });
  return found;
}

std::optional<TcpSocketInfo> TcpDiag::find(int family, const TcpTuple& connection) {
  netlink::Request request(SOCK_DIAG_BY_FAMILY);
  request.fixed(question(family, connection));
  std::optional<TcpSocketInfo> found;
  try {
    connection_.change(request, [&](const netlink::Message& message) { found = parse(message); });
  } catch (const Error& e) {
    if (e.code() != ENOENT) {
      throw;
    }
  }
  return found;
}

void TcpDiag::destroy(int family, const TcpTuple& connection) {
  netlink::Request request(SOCK_DESTROY);
  connection_.change(request.fixed(question(family, connection)));
}

}  // namespace godwit
