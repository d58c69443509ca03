#include "tests/e2e/criu_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "kernel/error.h"
#include "tests/e2e/harness.h"

namespace godwit::e2e {

CriuClient::CriuClient() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw errno_error("cannot make a socket");
  }
  socket_ = Fd(ends[0]);
  const Fd other(ends[1]);
  const timeval patience{30, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  LaunchOptions options;
  options.pass_settings();
  options.new_session = false;
  options.in_child = [&] { ::fcntl(other.get(), F_SETFD, 0); };
  server_ = launch({CRIU_BINARY, "swrk", std::to_string(other.get())}, options);
}

CriuClient::~CriuClient() {
  if (server_ > 0) {
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
  }
}

void CriuClient::send(const rpc::Request& request) const {
  send_bytes(request.SerializeAsString());
}

void CriuClient::send_bytes(const std::string& message) const {
  if (::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    throw errno_error("cannot send a request");
  }
}

rpc::Response CriuClient::receive() const {
  std::string buffer(1 << 16, '\0');
  const ssize_t length = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  if (length <= 0) {
    throw length < 0 ? errno_error("cannot receive an answer") : error("the server has gone");
  }
  rpc::Response response;
  if (!response.ParseFromArray(buffer.data(), static_cast<int>(length))) {
    throw error("the answer isn't well-formed");
  }
  return response;
}

rpc::Response CriuClient::ask(const rpc::Request& request, const OnNotify& on_notify) {
  send(request);
  for (;;) {
    rpc::Response response = receive();
    if (response.type() != rpc::NOTIFY) {
      return response;
    }
    moments.push_back(response.notify().script());
    pids.push_back(response.notify().pid());
    rpc::Request answer;
    answer.set_type(rpc::NOTIFY);
    answer.set_notify_success(!on_notify || on_notify(response.notify()));
    send(answer);
  }
}

int CriuClient::wait_for_end() {
  const int status = godwit::e2e::wait_for_end(server_);
  server_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

rpc::Request criu_request(rpc::RequestType type, const Fd& images) {
  rpc::Request request;
  request.set_type(type);
  request.mutable_opts()->set_images_dir_fd(images.get());
  return request;
}

}  // namespace godwit::e2e
