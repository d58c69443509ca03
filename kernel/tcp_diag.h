#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernel/netlink.h"
#include "kernel/tcp_state.h"
#include "kernel/tcp_tuple.h"

namespace godwit {

/// What sock_diag(7) tells of a TCP socket and nothing else does.
struct TcpSocketInfo {
  uint32_t inode = 0;  // 0: no descriptor leads to it
  TcpState state = TcpState::Close;
  std::string remote;  // struct sockaddr_in or sockaddr_in6
  bool has_md5_keys = false;
};

/// The TCP sockets of a network namespace, that of the calling thread when it was made.
class TcpDiag {
 public:
  /// Throws Error.
  TcpDiag();
  /// Those of a family in one state. Throws Error.
  [[nodiscard]] std::vector<TcpSocketInfo> list(int family, TcpState state);
  /// The socket of a connection; `family`: its own. Throws Error.
  [[nodiscard]] std::optional<TcpSocketInfo> find(int family, const TcpTuple& connection);
  /// Ends a connection, whose peer is sent a reset. ENOENT as code: there is none. Throws Error.
  void destroy(int family, const TcpTuple& connection);

 private:
  netlink::Connection connection_;
};

}  // namespace godwit
