#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "compat/rpc.pb.h"
#include "kernel/fd.h"

namespace godwit::e2e {

namespace rpc = compat::rpc;

/// A client of `criu swrk`, as container runtimes are: it starts the program, sends requests over a socket of
/// its own, and answers notifications.
class CriuClient {
 public:
  CriuClient();
  /// Of a server that runs already.
  explicit CriuClient(Fd socket) : socket_(std::move(socket)) {}
  CriuClient(const CriuClient&) = delete;
  CriuClient& operator=(const CriuClient&) = delete;
  ~CriuClient();

  /// Says whether the work may go on.
  using OnNotify = std::function<bool(const rpc::Notification&)>;

  /// Sends the request and returns the answer to it; notifications meanwhile go to `on_notify`. Throws Error
  /// if the server goes away.
  rpc::Response ask(const rpc::Request& request, const OnNotify& on_notify = {});
  void send(const rpc::Request& request) const;
  /// Anything, as one datagram.
  void send_bytes(const std::string& message) const;
  [[nodiscard]] rpc::Response receive() const;
  /// Closes the client's end.
  void hang_up() { socket_.reset(); }
  /// Waits for the end of the server. Its exit code, -1 if it was killed.
  int wait_for_end();

  [[nodiscard]] pid_t server() const { return server_; }
  /// Names of the notifications that came, and the pids in them.
  std::vector<std::string> moments;
  std::vector<pid_t> pids;

 private:
  Fd socket_;
  pid_t server_ = 0;
};

/// A request with the directory of images, which the client holds open.
[[nodiscard]] rpc::Request criu_request(rpc::RequestType type, const Fd& images);

}  // namespace godwit::e2e
