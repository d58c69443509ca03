#pragma once

#include <map>
#include <string>
#include <tuple>

#include "images-format/socket.pb.h"
#include "kernel/fd.h"

namespace godwit {

/// Reads those options of sockets that differ from a new socket's.
class SocketOptionReader {
 public:
  /// `name` stands in errors. Throws Error, also for what can't be set again (filters).
  void read(int socket, const std::string& name, image::SocketOptions& record);

 private:
  int reference(int domain, int type, int protocol);
  std::map<std::tuple<int, int, int>, Fd> references_;  // new sockets, by domain, type and protocol
};

/// A number that getsockopt(2) gives. Throws Error; `name` stands in it.
[[nodiscard]] int socket_option(int socket, int level, int option, const std::string& name);

}  // namespace godwit
