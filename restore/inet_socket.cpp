#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <span>

#include "images-format/inet_socket.pb.h"
#include "restore/descriptor_kind.h"
#include "restore/socket_options.h"
#include "restore/tcp.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::InetSocket&>(message);
  ScriptBuilder& script = context.script;
  const uint32_t flags = SOCK_CLOEXEC | (record.open_file().flags() & SOCK_NONBLOCK);
  const Slot socket =
      script.call_to_slot("make a socket", SYS_socket,
                          {record.family(), static_cast<uint32_t>(record.type()) | flags, record.protocol()});
  emit_socket_options(script, socket, record.options());
  if (record.has_connection()) {
    emit_connection(record, context, socket);
    context.set_flags(socket, record.open_file(), record.open_file().flags() & O_NONBLOCK);
    context.deliver(record.open_file(), socket);
    return;
  }
  if (!record.local_address().empty()) {
    // Connections of the past that wait in TIME_WAIT must not keep the port from its owner.
    const bool lend =
        record.type() == SOCK_STREAM && recorded_option(record.options(), SOL_SOCKET, SO_REUSEADDR, 0) == 0;
    if (lend) {
      emit_socket_option(script, socket, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    const uint64_t address = script.bytes(std::as_bytes(std::span(record.local_address())));
    script.call("bind to its address", SYS_bind, {socket, address, record.local_address().size()});
    if (record.listening()) {
      script.call("listen", SYS_listen, {socket, record.backlog()});
    }
    if (lend) {
      emit_socket_option(script, socket, SOL_SOCKET, SO_REUSEADDR, 0);
    }
  }
  if (!record.remote_address().empty()) {
    const uint64_t address = script.bytes(std::as_bytes(std::span(record.remote_address())));
    script.call("connect to its destination", SYS_connect, {socket, address, record.remote_address().size()});
  }
  context.set_flags(socket, record.open_file(), record.open_file().flags() & O_NONBLOCK);
  context.deliver(record.open_file(), socket);
}

bool has_connection(const google::protobuf::Message& message) {
  return static_cast<const image::InetSocket&>(message).has_connection();
}

void enliven(const google::protobuf::Message& message, int socket) {
  enliven_connection(static_cast<const image::InetSocket&>(message), socket);
}

}  // namespace

constinit const Kind kInetSocket{.type = RecordType::InetSocket,
                                 .name = "internet socket",
                                 .open_files = single_open_file<image::InetSocket>,
                                 .make = make,
                                 .finish = nullptr,
                                 .enliven = enliven,
                                 .enlivens = has_connection};

}  // namespace godwit::making
