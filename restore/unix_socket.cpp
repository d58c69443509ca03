#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <span>

#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"
#include "restore/socket_options.h"

namespace godwit::making {

namespace {

constexpr int kBufferLock = 72;        // SO_BUF_LOCK, Linux 5.14
constexpr size_t kSmallQueue = 32768;  // fits into any send buffer
constexpr int kLargeBuffer = 1 << 30;

std::vector<const image::OpenFile*> open_files(const google::protobuf::Message& message) {
  std::vector<const image::OpenFile*> files;
  for (const image::UnixSocketEnd& end : static_cast<const image::UnixSocket&>(message).ends()) {
    files.push_back(&end.open_file());
  }
  return files;
}

/// Whether some socket, in whatever network namespace, is bound to this file. Connecting a datagram socket
/// asks without leaving a trace: another type of socket says EPROTOTYPE, and a datagram socket notices
/// nothing.
bool is_in_use(const std::string& path) {
  const Fd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) {
    throw errno_error("cannot make a socket");
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path);
  const int result = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return result == 0 || (errno != ECONNREFUSED && errno != ENOENT);
}

/// A socket file that its last owner has left behind makes way; anything else stays.
void remove_stale(ScriptBuilder& script, const std::string& path, uint64_t address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return;
  }
  if (!S_ISSOCK(status.st_mode)) {
    throw error("{} is in the way of a unix socket of the checkpoint", path);
  }
  if (is_in_use(path)) {
    throw Error(fmt::format("{} belongs to a socket that another process has open", path), EADDRINUSE,
                "end that process first");
  }
  script.call_may_fail_with("remove the old socket file", ENOENT, SYS_unlinkat, {AT_FDCWD, address, 0});
}

void bind(MakeContext& context, Arg socket, const image::UnixSocketEnd& end) {
  ScriptBuilder& script = context.script;
  const std::string& name = end.name();
  sockaddr_un address{};
  if (name.size() > sizeof address.sun_path) {
    throw error("the name of a unix socket has {} bytes", name.size());
  }
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, name.size());
  const bool path = name.front() != '\0';
  const size_t size =
      offsetof(sockaddr_un, sun_path) + name.size() + (path && name.size() < sizeof address.sun_path ? 1 : 0);
  const uint64_t file = script.string(name);
  if (path && !end.unlinked()) {
    remove_stale(script, name, file);
  }
  script.call("bind to its name", SYS_bind, {socket, script.object(address), size});
  if (!path) {
    return;
  }
  if (end.unlinked()) {
    script.call("unlink its name", SYS_unlinkat, {AT_FDCWD, file, 0});
    return;
  }
  context.names.emit(script, name, file);
  script.call("set the owner of its file", SYS_fchownat, {AT_FDCWD, file, end.uid(), end.gid(), 0});
  script.call("set the mode of its file", SYS_fchmodat, {AT_FDCWD, file, end.mode()});
}

/// What the kernel gives a socket that asks for nothing: twice what would be asked for (socket(7)).
int usual_send_buffer() {
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  int size = 0;
  socklen_t length = sizeof size;
  if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &size, &length) != 0) {
    throw errno_error("cannot ask for the usual size of a send buffer");
  }
  return size;
}

/// Sends what waited at one end from the other.
void fill_queue(ScriptBuilder& script, Arg sender, const image::UnixSocketEnd& receiver,
                const image::SocketOptions& senders_options) {
  size_t total = 0;
  for (const std::string& message : receiver.queue()) {
    total += message.size();
  }
  const bool large = total > kSmallQueue;
  if (large) {
    emit_socket_option(script, sender, SOL_SOCKET, SO_SNDBUFFORCE, kLargeBuffer);
  }
  for (const std::string& message : receiver.queue()) {
    const uint64_t data = script.bytes(std::as_bytes(std::span(message)));
    script.call_expecting("fill the queue of a socket", static_cast<int32_t>(message.size()), SYS_sendto,
                          {sender, data, message.size(), int{MSG_DONTWAIT} | MSG_NOSIGNAL, 0, 0});
  }
  if (large && recorded_option(senders_options, SOL_SOCKET, SO_SNDBUF, 0) == 0) {
    emit_socket_option(script, sender, SOL_SOCKET, SO_SNDBUFFORCE, usual_send_buffer() / 2);
    emit_socket_option(script, sender, SOL_SOCKET, kBufferLock, 0);
  }
}

void finish_end(MakeContext& context, int socket, const image::UnixSocketEnd& end) {
  ScriptBuilder& script = context.script;
  emit_socket_options(script, socket, end.options());
  if (!end.name().empty()) {
    bind(context, socket, end);
  }
  if (end.shutdown() != 0 && !end.peer_closed()) {
    script.call("shut a socket down", SYS_shutdown, {socket, (end.shutdown() & 3) - 1});
  }
  context.set_flags(socket, end.open_file(), 0);
}

void make_pair(const image::UnixSocket& record, MakeContext& context) {
  ScriptBuilder& script = context.script;
  const uint64_t pair = script.reserve(2 * sizeof(int));
  script.call("make a pair of sockets", SYS_socketpair, {AF_UNIX, record.type() | SOCK_CLOEXEC, 0, pair});
  const auto [first, second] = context.take_pair(pair, 0);
  const image::UnixSocketEnd& end = record.ends(0);
  fill_queue(script, second, end, record.ends(record.ends_size() - 1).options());
  if (record.ends_size() == 1) {
    context.close(second);
    finish_end(context, first, end);
    context.deliver(end.open_file(), first);
    return;
  }
  fill_queue(script, first, record.ends(1), end.options());
  finish_end(context, first, end);
  finish_end(context, second, record.ends(1));
  context.deliver(end.open_file(), first);
  context.deliver(record.ends(1).open_file(), second);
}

void make_single(const image::UnixSocket& record, MakeContext& context) {
  ScriptBuilder& script = context.script;
  const image::UnixSocketEnd& end = record.ends(0);
  const Slot made =
      script.call_to_slot("make a socket", SYS_socket, {AF_UNIX, record.type() | SOCK_CLOEXEC, 0});
  const int socket = context.move_away(made, 0);
  finish_end(context, socket, end);
  if (end.listening()) {
    script.call("listen", SYS_listen, {socket, end.backlog()});
  }
  context.deliver(end.open_file(), socket);
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::UnixSocket&>(message);
  if (record.ends_size() == 2 || (record.ends_size() == 1 && record.ends(0).peer_closed())) {
    make_pair(record, context);
  } else if (record.ends_size() == 1) {
    make_single(record, context);
  } else {
    throw error("a unix socket with {} ends", record.ends_size());
  }
}

}  // namespace

constinit const Kind kUnixSocket{RecordType::UnixSocket, "unix socket", open_files, make, nullptr};

}  // namespace godwit::making
