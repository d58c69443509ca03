// A criu that does nothing, by which one sees how much of `runc checkpoint` and `runc restore` is runc's own.
// A dump ends the container's first process; a restore makes one that waits for a signal.
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "compat/rpc_socket.h"
#include "kernel/error.h"
#include "kernel/pidfd.h"

namespace godwit::bench {

namespace {

using namespace compat;

void notify(RpcSocket& client, const char* script, pid_t pid) {
  rpc::Response response;
  response.set_type(rpc::NOTIFY);
  response.set_success(true);
  response.mutable_notify()->set_script(script);
  response.mutable_notify()->set_pid(pid);
  client.send(response);
  rpc::Request answer;
  if (!client.receive(answer) || !answer.notify_success()) {
    throw error("the client refused {}", script);
  }
}

void end(pid_t pid) {
  const Fd task = open_pidfd(pid);
  if (::kill(pid, SIGKILL) != 0) {
    throw errno_error("cannot end {}", pid);
  }
  pollfd ended = {task.get(), POLLIN, 0};
  ::poll(&ended, 1, -1);
}

/// Another child of our parent's, as runc asks for it.
pid_t waiting_sibling() {
  const long pid = ::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  while (pid == 0) {
    ::pause();
  }
  return static_cast<pid_t>(pid);
}

void answer(RpcSocket& client, const rpc::Request& request) {
  rpc::Response response;
  response.set_type(request.type());
  response.set_success(true);
  if (request.type() == rpc::VERSION) {
    response.mutable_version()->set_major_number(4);
    response.mutable_version()->set_minor_number(0);
  } else if (request.type() == rpc::DUMP) {
    notify(client, "post-dump", request.opts().pid());
    end(request.opts().pid());
  } else if (request.type() == rpc::RESTORE) {
    const pid_t root = waiting_sibling();
    notify(client, "post-restore", root);
    response.mutable_restore()->set_pid(root);
  }
  client.send(response);
}

}  // namespace

}  // namespace godwit::bench

int main(int argc, char** argv) {
  if (argc != 3 || std::string_view(argv[1]) != "swrk") {
    return 1;
  }
  try {
    godwit::compat::RpcSocket client{godwit::Fd(std::atoi(argv[2]))};
    godwit::compat::rpc::Request request;
    while (client.receive(request)) {
      godwit::bench::answer(client, request);
    }
  } catch (const godwit::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
