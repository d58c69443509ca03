#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace godwit {

/// What sock_diag(7) tells of a unix socket and nothing else does.
struct UnixSocketInfo {
  uint8_t state = 0;     // TCP_ESTABLISHED, TCP_LISTEN, TCP_CLOSE
  uint8_t shutdown = 0;  // bit 0 receive, bit 1 send
  bool has_peer = false;
  uint32_t peer_inode = 0;   // 0: the peer has no descriptor: closed, or not yet accepted
  uint32_t queue = 0;        // listening: connections that wait; else bytes to be read
  uint32_t backlog = 0;      // listening: as given to listen(2)
  uint32_t file_inode = 0;   // bound to a path: of the socket's file, and
  uint32_t file_device = 0;  // st_dev of its file system, as the kernel has it: major << 20 | minor
  std::string name;          // as bound: a path, or a leading zero byte and an abstract name
};

/// All unix sockets of this network namespace, by inode. Throws Error.
[[nodiscard]] std::unordered_map<uint32_t, UnixSocketInfo> list_unix_sockets();

}  // namespace godwit
