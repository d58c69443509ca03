#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>

#include "dump/descriptor_kind.h"
#include "dump/multicast.h"
#include "dump/socket_options.h"
#include "images-format/inet_socket.pb.h"
#include "kernel/error.h"
#include "kernel/namespace.h"
#include "kernel/tcp_state.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.socket_domain == AF_INET || description.socket_domain == AF_INET6;
}

void check_udp(const Description& description, int socket) {
  pollfd poll{socket, POLLIN, 0};
  if (::poll(&poll, 1, 0) > 0 && (poll.revents & POLLIN) != 0) {
    throw refusal("{}, a UDP socket with datagrams that wait to be read,", description.name());
  }
}

void check(const Description& description, Context& context) {
  const Fd socket = context.copy(description);
  const std::string name = description.name();
  const int type = socket_option(socket.get(), SOL_SOCKET, SO_TYPE, name);
  const int protocol = socket_option(socket.get(), SOL_SOCKET, SO_PROTOCOL, name);
  if (type == SOCK_STREAM && protocol == IPPROTO_TCP) {
    TcpConnections::check(socket.get(), name, context.options);
  } else if (type == SOCK_DGRAM && protocol == IPPROTO_UDP) {
    check_udp(description, socket.get());
  } else {
    throw refusal("{}, an internet socket of type {} and protocol {},", name, type, protocol);
  }
}

using NameCall = int (*)(int, sockaddr*, socklen_t*) noexcept;

/// Empty: there is none.
std::string address(int socket, NameCall call, const Description& description) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (call(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    if (errno == ENOTCONN) {
      return {};
    }
    throw errno_error("cannot ask {} for its address", description.name());
  }
  in_port_t port = 0;  // stands at the same place in both families
  std::memcpy(&port, reinterpret_cast<const char*>(&storage) + offsetof(sockaddr_in, sin_port), sizeof port);
  return port == 0 ? std::string() : std::string(reinterpret_cast<const char*>(&storage), size);
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  std::optional<EnteredNamespace> inside;
  if (context.namespaces.net_namespace() >= 0) {
    inside.emplace("net", context.namespaces.net_namespace());
  }
  SocketOptionReader options;
  MulticastGroups multicast;
  for (const Description* description : descriptions) {
    Fd socket = context.copy(*description);
    const std::string name = description->name();
    auto record = std::make_unique<image::InetSocket>();
    description->fill(*record->mutable_open_file());
    record->set_inode(description->info.inode);
    record->set_family(description->socket_domain);
    record->set_type(socket_option(socket.get(), SOL_SOCKET, SO_TYPE, name));
    record->set_protocol(socket_option(socket.get(), SOL_SOCKET, SO_PROTOCOL, name));
    record->set_local_address(address(socket.get(), ::getsockname, *description));
    if (record->type() == SOCK_STREAM) {
      const tcp_info info = tcp_info_of(socket.get());
      record->set_listening(state_of(info) == TcpState::Listen);
      record->set_backlog(record->listening() ? info.tcpi_sacked : 0);
      if (record->listening()) {
        context.tcp.check_listening(record->inode(), record->family(), name);
      }
    }
    if (record->type() != SOCK_STREAM) {
      record->set_remote_address(address(socket.get(), ::getpeername, *description));
    }
    options.read(socket.get(), name, *record->mutable_options());
    if (record->type() == SOCK_DGRAM) {
      multicast.read(socket.get(), record->family(), name, *record->mutable_options());
    }
    if (record->type() == SOCK_STREAM && !record->listening()) {
      context.tcp.add(std::move(socket), name, *record);
    }
    context.add(std::move(record));
  }
  context.tcp.read();
}

}  // namespace

constinit const Kind kInetSocket{
    "internet socket", matches, check, collect,
    "TCP, connections in any state by --tcp-established (docs/tcp.md); UDP without datagrams that wait; "
    "options, multicast memberships"};

}  // namespace godwit::collecting
