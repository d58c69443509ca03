#include "kernel/tcp_state.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "kernel/error.h"

namespace godwit {

tcp_info tcp_info_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
    throw errno_error("cannot ask a socket for its state");
  }
  return info;
}

}  // namespace godwit
