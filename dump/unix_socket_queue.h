#pragma once

#include <string>
#include <vector>

namespace godwit {

/// What waits to be read from a unix socket; nothing is taken out of it. One entry a message, or, of a
/// stream, one a piece. Throws Error, also for messages that carry descriptors or credentials.
[[nodiscard]] std::vector<std::string> peek_unix_socket_queue(int socket, int type, const std::string& name);

}  // namespace godwit
