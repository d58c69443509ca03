#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "kernel/fd.h"
#include "kernel/sock_diag.h"

namespace godwit {

/// The unix sockets of a network namespace.
class UnixSockets {
 public:
  /// `net_namespace`: -1: ours. Throws Error.
  explicit UnixSockets(int net_namespace);

  /// Null: it isn't of that network namespace.
  [[nodiscard]] const UnixSocketInfo* find(uint64_t inode) const;
  /// Whether an end of a connection is bound to its name itself. One that was accepted has the name of the
  /// listening socket, without being what is found there. `socket`: a descriptor of it. Throws Error.
  [[nodiscard]] bool holds_its_name(int socket, const UnixSocketInfo& info) const;

 private:
  [[nodiscard]] bool is_listened_to(const UnixSocketInfo& info) const;

  std::unordered_map<uint32_t, UnixSocketInfo> all_;
  Fd probe_;
};

/// The name of a socket or of its peer: a path, or a leading zero byte and an abstract name; empty: none.
/// Throws Error; `name` stands in it.
[[nodiscard]] std::string name_of_unix_socket(int socket, const std::string& name);
[[nodiscard]] std::string name_of_unix_peer(int socket, const std::string& name);

}  // namespace godwit
