#include <sys/socket.h>

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "dump/descriptor_kind.h"
#include "dump/socket_options.h"
#include "dump/unix_socket_name.h"
#include "dump/unix_socket_queue.h"
#include "images-format/unix_socket.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

constexpr uint8_t kEstablished = 1;  // the kernel's net/tcp_states.h
constexpr uint8_t kListening = 10;
constexpr uint8_t kBothWays = 3;

bool matches(const Description& description) {
  return description.socket_domain == AF_UNIX;
}

class Collector {
 public:
  Collector(std::span<const Description* const> descriptions, Context& context)
      : context_(context), sockets_(context.namespaces.net_namespace()) {
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
      add_closed_peer(description, info, *record);
    }
    if (record->ends_size() == 2 && record->ends(0).accepted()) {
      record->mutable_ends()->SwapElements(0, 1);
    }
    records_[record->ends_size() == 2 && record->ends(1).accepted() ? 0 : 1].push_back(std::move(record));
  }

  /// Connections come before the sockets that have their names now.
  void hand_over() {
    for (auto& records : records_) {
      for (auto& record : records) {
        context_.add(std::move(record));
      }
    }
  }

 private:
  const UnixSocketInfo& info_of(const Description& description) {
    const UnixSocketInfo* found = sockets_.find(description.info.inode);
    if (found == nullptr) {
      throw refusal("{}, a unix socket of another network namespace,", description.name());
    }
    return *found;
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
    end.set_name(name_of_unix_socket(socket.get(), description.name()));
    if (info.state == kListening) {
      end.set_listening(true);
      end.set_backlog(info.backlog);
      if (info.queue > 0) {
        throw refusal("{}, a listening unix socket with connections that wait to be accepted,",
                      description.name());
      }
    }
    if (!end.name().empty()) {
      end.set_accepted(record.type() != SOCK_DGRAM && info.state == kEstablished &&
                       !sockets_.holds_its_name(socket.get(), info));
      if (!end.accepted() && end.name().front() != '\0') {
        add_file(description, info, end);
      }
    }
    if (description.content) {
      *end.mutable_queue() = static_cast<const image::UnixQueue&>(*description.content);
    }
  }

  void add_file(const Description& description, const UnixSocketInfo& info, image::UnixSocketEnd& end) const {
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

  /// An end without a living peer was never connected, or listens, or has been left behind: then what it was
  /// connected to is made again, and closed when it has sent what waits.
  void add_closed_peer(const Description& description, const UnixSocketInfo& info,
                       image::UnixSocket& record) {
    const image::UnixSocketEnd& end = record.ends(0);
    if (end.listening()) {
      return;
    }
    const bool connected = record.type() == SOCK_DGRAM ? info.has_peer : info.state == kEstablished;
    if (!connected) {
      if (!end.queue().messages().empty()) {
        throw refusal("{}, an unconnected unix socket with messages that wait to be read,",
                      description.name());
      }
      return;
    }
    // A closing end shuts its peer down. Otherwise the connection waits for somebody to accept it.
    if (record.type() != SOCK_DGRAM && info.shutdown != kBothWays) {
      throw refusal("{}, a connection that hasn't been accepted yet,", description.name());
    }
    const Fd socket = context_.copy(description);
    image::UnixSocketEnd& closed = *record.add_ends();
    closed.mutable_open_file()->set_id(context_.id_of_closed_file());
    closed.set_name(name_of_unix_peer(socket.get(), description.name()));
    if (!closed.name().empty()) {
      closed.set_accepted(record.type() != SOCK_DGRAM && !record.ends(0).accepted());
      closed.set_unlinked(!closed.accepted() && closed.name().front() != '\0');
    }
  }

  Context& context_;
  SocketOptionReader options_;
  UnixSockets sockets_;
  std::array<std::vector<std::unique_ptr<image::UnixSocket>>, 2> records_;  // accepted connections, others
  std::unordered_map<uint64_t, const Description*> by_inode_;
};

void collect(std::span<const Description* const> descriptions, Context& context) {
  Collector collector(descriptions, context);
  for (const Description* description : descriptions) {
    collector.collect(*description);
  }
  collector.hand_over();
}

}  // namespace

constinit const Kind kUnixSocket{
    "unix socket",
    matches,
    nullptr,
    collect,
    "pairs and accepted connections with queued messages, descriptors and credentials in them; listening "
    "sockets, options",
    peek_unix_socket_queue};

}  // namespace godwit::collecting
