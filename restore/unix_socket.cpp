#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <optional>

#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"
#include "restore/socket_options.h"
#include "restore/unix_socket_queue.h"

namespace godwit::making {

namespace {

constexpr int kAsideNumbers = 2;  // scratch numbers: two sockets stand before them

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

/// What lies between is done with the directory aside as this process's root: files of sockets that aren't to
/// be found under their names get them there.
class Aside {
 public:
  /// `nth`: of the first of two scratch numbers.
  Aside(MakeContext& context, int nth) : context_(context) {
    ScriptBuilder& script = context.script;
    const auto keep = [&](const char* path, int number) {
      return context.move_away(
          script.call_to_slot("keep a directory", SYS_openat,
                              {AT_FDCWD, script.string(path), O_PATH | O_DIRECTORY | O_CLOEXEC}),
          number);
    };
    root_ = keep("/", nth);
    working_ = keep(".", nth + 1);
    script.call("go aside", SYS_fchdir, {context.aside()});
    script.call("go aside", SYS_chroot, {script.string(".")});
  }

  void make_directories(const std::string& name) const {
    ScriptBuilder& script = context_.script;
    for (size_t slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      script.call_may_fail_with("make a directory aside", EEXIST, SYS_mkdirat,
                                {AT_FDCWD, script.string(name.substr(0, slash)), 0700});
    }
  }

  void leave() const {
    ScriptBuilder& script = context_.script;
    script.call("come back", SYS_fchdir, {root_});
    script.call("come back", SYS_chroot, {script.string(".")});
    script.call("come back", SYS_fchdir, {working_});
    context_.close(root_);
    context_.close(working_);
  }

 private:
  MakeContext& context_;
  int root_ = -1;
  int working_ = -1;
};

bool is_path(const image::UnixSocketEnd& end) {
  return !end.name().empty() && end.name().front() != '\0';
}

void call_with_name(ScriptBuilder& script, const char* doing, long number, Arg socket,
                    const std::string& name) {
  sockaddr_un address{};
  if (name.size() > sizeof address.sun_path) {
    throw error("the name of a unix socket has {} bytes", name.size());
  }
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, name.size());
  const bool ends = name.front() != '\0' && name.size() < sizeof address.sun_path;
  const size_t size = offsetof(sockaddr_un, sun_path) + name.size() + (ends ? 1 : 0);
  script.call(doing, number, {socket, script.object(address), size});
}

void bind(MakeContext& context, Arg socket, const image::UnixSocketEnd& end) {
  ScriptBuilder& script = context.script;
  const std::string& name = end.name();
  if (end.unlinked()) {
    const Aside aside(context, kAsideNumbers);
    aside.make_directories(name);
    call_with_name(script, "bind to its name", SYS_bind, socket, name);
    script.call("unlink its name", SYS_unlinkat, {AT_FDCWD, script.string(name), 0});
    aside.leave();
    return;
  }
  const uint64_t file = script.string(name);
  if (is_path(end)) {
    remove_stale(script, name, file);
  }
  call_with_name(script, "bind to its name", SYS_bind, socket, name);
  if (!is_path(end)) {
    return;
  }
  context.names.emit(script, name, file);
  script.call("set the owner of its file", SYS_fchownat, {AT_FDCWD, file, end.uid(), end.gid(), 0});
  script.call("set the mode of its file", SYS_fchmodat, {AT_FDCWD, file, end.mode()});
}

void finish_end(MakeContext& context, int socket, const image::UnixSocketEnd& end) {
  if (!end.name().empty() && !end.accepted()) {
    bind(context, socket, end);
  }
  if (end.listening()) {
    context.script.call("listen", SYS_listen, {socket, end.backlog()});
  }
  emit_socket_options(context.script, socket, end.options());
  context.set_flags(socket, end.open_file(), 0);
  context.deliver(end.open_file(), socket);
}

void make_pair(const image::UnixSocket& record, MakeContext& context) {
  ScriptBuilder& script = context.script;
  const uint64_t pair = script.reserve(2 * sizeof(int));
  script.call("make a pair of sockets", SYS_socketpair, {AF_UNIX, record.type() | SOCK_CLOEXEC, 0, pair});
  const auto [first, second] = context.take_pair(pair, 0);
  finish_end(context, first, record.ends(0));
  finish_end(context, second, record.ends(1));
}

int make_socket(const image::UnixSocket& record, MakeContext& context, int nth) {
  return context.move_away(
      context.script.call_to_slot("make a socket", SYS_socket, {AF_UNIX, record.type() | SOCK_CLOEXEC, 0}),
      nth);
}

/// The listening socket through which a connection has come may be another by now, or gone. So one of that
/// name is made for this connection alone, where nobody else finds it.
void make_connection(const image::UnixSocket& record, MakeContext& context) {
  ScriptBuilder& script = context.script;
  const image::UnixSocketEnd& server = record.ends(1);
  const int client = make_socket(record, context, 0);
  const int listener = make_socket(record, context, 1);
  std::optional<Aside> aside;
  if (is_path(server)) {
    aside.emplace(context, kAsideNumbers).make_directories(server.name());
  }
  call_with_name(script, "bind to the name of a connection", SYS_bind, listener, server.name());
  script.call("listen for a connection", SYS_listen, {listener, 1});
  call_with_name(script, "connect", SYS_connect, client, server.name());
  if (aside) {
    script.call("unlink a name", SYS_unlinkat, {AT_FDCWD, script.string(server.name()), 0});
    aside->leave();
  }
  finish_end(context, client, record.ends(0));
  const int accepted = context.move_away(
      script.call_to_slot("accept a connection", SYS_accept4, {listener, 0, 0, int{SOCK_CLOEXEC}}), 0);
  context.close(listener);
  finish_end(context, accepted, server);
}

void make_single(const image::UnixSocket& record, MakeContext& context) {
  finish_end(context, make_socket(record, context, 0), record.ends(0));
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::UnixSocket&>(message);
  if (record.ends_size() == 1) {
    make_single(record, context);
  } else if (record.ends(1).accepted()) {
    make_connection(record, context);
  } else {
    make_pair(record, context);
  }
}

/// Names of accepted connections must be free once more when those are made: the listening sockets come
/// later, and stand behind them in the image.
bool made_aside(const google::protobuf::Message& message) {
  const auto& ends = static_cast<const image::UnixSocket&>(message).ends();
  return std::ranges::any_of(
      ends, [](const image::UnixSocketEnd& end) { return end.accepted() || end.unlinked(); });
}

}  // namespace

constinit const Kind kUnixSocket{.type = RecordType::UnixSocket,
                                 .name = "unix socket",
                                 .open_files = open_files,
                                 .make = make,
                                 .finish = nullptr,
                                 .made_aside = made_aside,
                                 .fill = fill_unix_sockets};

}  // namespace godwit::making
