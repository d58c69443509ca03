#pragma once

#include <sys/types.h>

#include "compat/rpc.pb.h"
#include "kernel/fd.h"

namespace godwit::compat {

/// Our end of a client's SOCK_SEQPACKET socket: one message a datagram.
class RpcSocket {
 public:
  /// Throws Error if it is no such socket.
  explicit RpcSocket(Fd socket);

  /// False: the client has closed its end. Throws Error, also for what is no request, or if a signal asks for
  /// an end (kernel/cancel.h, wait_readable).
  [[nodiscard]] bool receive(rpc::Request& request, unsigned heeded = 0) const;
  /// Throws Error, also if the client has gone.
  void send(const rpc::Response& response, int descriptor = -1) const;
  /// Who made the other end, as seen from here; descriptors in requests are numbers in its table.
  [[nodiscard]] pid_t client() const { return client_; }

 private:
  Fd socket_;
  pid_t client_ = 0;
};

}  // namespace godwit::compat
