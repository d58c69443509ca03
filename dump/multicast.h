#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "images-format/socket.pb.h"

namespace godwit {

/// Multicast memberships of sockets. The kernel lists the groups of interfaces, but not of sockets: each
/// socket is asked about each group.
class MulticastGroups {
 public:
  /// Adds a socket's memberships to its options, as MCAST_JOIN_GROUP with a struct group_req. Refuses those
  /// with source filters. `name` stands in errors. Throws Error.
  void read(int socket, int domain, const std::string& name, image::SocketOptions& record);

 private:
  void read_groups();

  bool known_ = false;
  std::vector<std::pair<unsigned, sockaddr_storage>> groups_;  // interface and address
};

}  // namespace godwit
