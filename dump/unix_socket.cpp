#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <unordered_map>

#include "dump/descriptor_kind.h"
#include "dump/socket_options.h"
#include "dump/unix_socket_queue.h"
#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"
#include "kernel/namespace.h"
#include "kernel/sock_diag.h"

namespace godwit::collecting {

namespace {

constexpr uint8_t kEstablished = 1;  // the kernel's net/tcp_states.h
constexpr uint8_t kListening = 10;
constexpr uint8_t kBothWays = 3;

bool matches(const Description& description) {
  return description.socket_domain == AF_UNIX;
}

std::string bound_name(int socket, const Description& description) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw errno_error("cannot ask {} for its name", description.name());
  }
  std::string name(address.sun_path,
                   std::min<size_t>(size - offsetof(sockaddr_un, sun_path), sizeof address.sun_path));
  // A path may be counted with its final zero; in an abstract name every byte counts.
  if (!name.empty() && name.front() != '\0') {
    name.resize(std::min(name.size(), name.find('\0')));
  }
  return name;
}

std::unordered_map<uint32_t, UnixSocketInfo> list_in(int net_namespace) {
  if (net_namespace < 0) {
    return list_unix_sockets();
  }
  const EnteredNamespace entered("net", net_namespace);
  return list_unix_sockets();
}

class Collector {
 public:
  Collector(std::span<const Description* const> descriptions, Context& context)
      : context_(context), all_(list_in(context.namespaces.net_namespace())) {
    for (const Description* description : descriptions) {
      by_inode_[description->info.inode] = description;
    }
  }

  void collect(const Description& description) {
    const UnixSocketInfo& info = info_of(description);
    auto record = std::make_unique<image::UnixSocket>();
    if (info.has_peer && info.peer_inode != 0) {
      const Description& peer = peer_of(description, info);
      if (peer.info.inode < description.info.inode) {
        return;  // the pair has been recorded with that end
      }
      add_end(description, *record);
      if (&peer != &description) {
        add_end(peer, *record);
      }
    } else {
      add_end(description, *record);
      check_alone(description, info, *record);
    }
    context_.add(std::move(record));
  }

 private:
  const UnixSocketInfo& info_of(const Description& description) {
    const auto found = all_.find(static_cast<uint32_t>(description.info.inode));
    if (found == all_.end()) {
      throw refusal("{}, a unix socket of another network namespace,", description.name());
    }
    return found->second;
  }

  /// The other end, which must be connected to this one alone.
  const Description& peer_of(const Description& description, const UnixSocketInfo& info) {
    const auto peer = by_inode_.find(info.peer_inode);
    if (peer == by_inode_.end()) {
      throw refusal("{}, whose other end is outside the tree,", description.name())
          .hint("dump a process above both ends, or lead that descriptor to a file first");
    }
    if (info_of(*peer->second).peer_inode != description.info.inode) {
      throw refusal("{}, whose other end isn't connected to it,", description.name());
    }
    return *peer->second;
  }

  void add_end(const Description& description, image::UnixSocket& record) {
    const Fd socket = context_.copy(description);
    const UnixSocketInfo& info = info_of(description);
    record.set_type(socket_option(socket.get(), SOL_SOCKET, SO_TYPE, description.name()));
    image::UnixSocketEnd& end = *record.add_ends();
    description.fill(*end.mutable_open_file());
    end.set_inode(description.info.inode);
    end.set_shutdown(info.shutdown);
    options_.read(socket.get(), description.name(), *end.mutable_options());
    add_name(description, info, socket.get(), end);
    if (info.state == kListening) {
      end.set_listening(true);
      end.set_backlog(info.backlog);
      if (info.queue > 0) {
        throw refusal("{}, a listening unix socket with connections that wait to be accepted,",
                      description.name());
      }
      return;
    }
    if (record.type() != SOCK_DGRAM && info.state == kEstablished && !end.name().empty()) {
      throw refusal("{}, a connection made through a listening unix socket,", description.name());
    }
    for (std::string& message : peek_unix_socket_queue(socket.get(), record.type(), description.name())) {
      end.add_queue(std::move(message));
    }
  }

  void add_name(const Description& description, const UnixSocketInfo& info, int socket,
                image::UnixSocketEnd& end) const {
    end.set_name(bound_name(socket, description));
    if (end.name().empty() || end.name().front() == '\0') {
      return;
    }
    if (end.name().front() != '/') {
      throw refusal("{}, a unix socket bound to the relative path {},", description.name(), end.name());
    }
    struct stat status {};
    if (!context_.files.find(end.name(), status) || !S_ISSOCK(status.st_mode) ||
        static_cast<uint32_t>(status.st_ino) != info.file_inode) {
      end.set_unlinked(true);
      return;
    }
    end.set_mode(status.st_mode & 07777);
    end.set_uid(status.st_uid);
    end.set_gid(status.st_gid);
  }

  /// An end without a living peer: never connected, listening, or left behind.
  static void check_alone(const Description& description, const UnixSocketInfo& info,
                          image::UnixSocket& record) {
    image::UnixSocketEnd& end = *record.mutable_ends(0);
    if (end.listening()) {
      return;
    }
    if (record.type() == SOCK_DGRAM) {
      end.set_peer_closed(info.has_peer);
    } else if (info.state == kEstablished) {
      // A closing end shuts its peer down. Otherwise the connection waits for somebody to accept it.
      if (info.shutdown != kBothWays) {
        throw refusal("{}, a connection that hasn't been accepted yet,", description.name());
      }
      end.set_peer_closed(true);
    }
    if (!end.peer_closed() && end.queue_size() > 0) {
      throw refusal("{}, an unconnected unix socket with messages that wait to be read,", description.name());
    }
  }

  Context& context_;
  SocketOptionReader options_;
  std::unordered_map<uint32_t, UnixSocketInfo> all_;
  std::unordered_map<uint64_t, const Description*> by_inode_;
};

void collect(std::span<const Description* const> descriptions, Context& context) {
  Collector collector(descriptions, context);
  for (const Description* description : descriptions) {
    collector.collect(*description);
  }
}

}  // namespace

constinit const Kind kUnixSocket{"unix socket", matches, nullptr, collect,
                                 "pairs with queued messages, listening sockets, options"};

}  // namespace godwit::collecting
