#include "restore/socket_options.h"

#include <sys/socket.h>
#include <sys/syscall.h>

#include <cstring>
#include <span>

#include "restore/descriptor_kind.h"

namespace godwit {

using making::emit_owner;

namespace {

int number(const image::SocketOption& option) {
  int value = 0;
  std::memcpy(&value, option.value().data(), std::min(sizeof value, option.value().size()));
  return value;
}

}  // namespace

void emit_socket_option(ScriptBuilder& script, Arg socket, int level, int name, int value) {
  script.call("set a socket option", SYS_setsockopt,
              {socket, level, name, script.object(value), sizeof value});
}

void emit_socket_options(ScriptBuilder& script, Arg socket, const image::SocketOptions& options) {
  emit_owner(script, socket, options.uid(), options.gid());
  for (const image::SocketOption& option : options.option()) {
    // What is set is doubled by the kernel, and the doubled number is read back: socket(7).
    if (option.level() == SOL_SOCKET && option.name() == SO_SNDBUF) {
      emit_socket_option(script, socket, SOL_SOCKET, SO_SNDBUFFORCE, number(option) / 2);
    } else if (option.level() == SOL_SOCKET && option.name() == SO_RCVBUF) {
      emit_socket_option(script, socket, SOL_SOCKET, SO_RCVBUFFORCE, number(option) / 2);
    } else {
      const uint64_t value = script.bytes(std::as_bytes(std::span(option.value())));
      script.call("set a socket option", SYS_setsockopt,
                  {socket, option.level(), option.name(), value, option.value().size()});
    }
  }
}

int recorded_option(const image::SocketOptions& options, int level, int name, int otherwise) {
  for (const image::SocketOption& option : options.option()) {
    if (option.level() == level && option.name() == name) {
      return number(option);
    }
  }
  return otherwise;
}

}  // namespace godwit
