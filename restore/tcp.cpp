#include "restore/tcp.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/syscall.h>

#include <algorithm>
#include <span>

#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/tcp_repair.h"
#include "restore/socket_options.h"

namespace godwit {

TcpLocks::TcpLocks(const CheckpointImage& image, const RestoreOptions& options) {
  for (const auto* socket : image.all<image::InetSocket>()) {
    if (socket->has_connection()) {
      connections_.push_back(tcp_tuple(socket->local_address(), socket->remote_address()));
    }
  }
  if (!connections_.empty() && !options.tcp_established) {
    throw Error("the checkpoint has TCP connections", 0, "--tcp-established lets them go on");
  }
  if (!connections_.empty() && options.network_lock == NetworkLock::Nftables) {
    kept_ = std::make_unique<KeptTcpLocks>();
    lock_ = std::make_unique<TcpLock>();
    lock_->add(connections_);
  }
}

void TcpLocks::release() {
  if (kept_ != nullptr) {
    kept_->remove(connections_);
  }
  lock_.reset();
}

namespace making {

namespace {

constexpr int kSackPermitted = 4;       // TCPOPT_SACK_PERM
constexpr int kSegmentSize = 2;         // TCPOPT_MAXSEG
constexpr int kWindowScale = 3;         // TCPOPT_WINDOW
constexpr int kTimestamps = 8;          // TCPOPT_TIMESTAMP
constexpr size_t kBytesAtOnce = 32768;  // the kernel takes at least as much in one go

void emit(ScriptBuilder& script, Arg socket, int option, int value) {
  emit_socket_option(script, socket, IPPROTO_TCP, option, value);
}

void emit_queue_end(ScriptBuilder& script, Arg socket, TcpQueue queue, uint32_t sequence) {
  emit(script, socket, TCP_REPAIR_QUEUE, static_cast<int>(queue));
  emit(script, socket, TCP_QUEUE_SEQ, static_cast<int>(sequence));
}

void emit_content(ScriptBuilder& script, Arg socket, TcpQueue queue, std::string_view content) {
  emit(script, socket, TCP_REPAIR_QUEUE, static_cast<int>(queue));
  const uint64_t data = script.bytes(std::as_bytes(std::span(content)));
  for (size_t at = 0; at < content.size(); at += kBytesAtOnce) {
    const size_t size = std::min(kBytesAtOnce, content.size() - at);
    script.call_expecting("fill the queue of a connection", static_cast<int32_t>(size), SYS_sendto,
                          {socket, data + at, size, int{MSG_DONTWAIT} | MSG_NOSIGNAL, 0, 0});
  }
}

void emit_agreements(ScriptBuilder& script, Arg socket, const image::TcpConnection& record) {
  std::vector<tcp_repair_opt> agreed{{kSegmentSize, record.segment_size()}};
  if (record.has_send_scale()) {
    agreed.push_back({kWindowScale, record.send_scale() | record.receive_scale() << 16});
  }
  if (record.selective_acknowledgement()) {
    agreed.push_back({kSackPermitted, 0});
  }
  if (record.has_timestamp()) {
    agreed.push_back({kTimestamps, 0});
  }
  script.call("set what the ends of a connection have agreed on", SYS_setsockopt,
              {socket, int{IPPROTO_TCP}, TCP_REPAIR_OPTIONS, script.bytes(std::as_bytes(std::span(agreed))),
               agreed.size() * sizeof agreed[0]});
  if (record.has_timestamp()) {
    emit(script, socket, TCP_TIMESTAMP, static_cast<int>(record.timestamp()));
  }
}

void emit_window(ScriptBuilder& script, Arg socket, const image::TcpWindow& record) {
  const tcp_repair_window window{record.last_update(), record.peers(), record.peers_most(), record.ours(),
                                 record.ours_told()};
  script.call("set the windows of a connection", SYS_setsockopt,
              {socket, int{IPPROTO_TCP}, TCP_REPAIR_WINDOW, script.object(window), sizeof window});
}

}  // namespace

void emit_connection(const image::InetSocket& record, MakeContext& context, Arg socket) {
  ScriptBuilder& script = context.script;
  const image::TcpConnection& connection = record.connection();
  const auto unread = static_cast<uint32_t>(connection.receive_queue().size());
  const auto unacknowledged = static_cast<uint32_t>(connection.send_queue().size());
  emit(script, socket, TCP_REPAIR, TCP_REPAIR_ON);
  emit_queue_end(script, socket, TcpQueue::Receive, connection.receive_end() - unread);
  emit_queue_end(script, socket, TcpQueue::Send, connection.send_end() - unacknowledged);
  const uint64_t local = script.bytes(std::as_bytes(std::span(record.local_address())));
  script.call("bind to its address", SYS_bind, {socket, local, record.local_address().size()});
  const uint64_t remote = script.bytes(std::as_bytes(std::span(record.remote_address())));
  script.call("take up a connection", SYS_connect, {socket, remote, record.remote_address().size()});
  emit_agreements(script, socket, connection);
  emit_content(script, socket, TcpQueue::Receive, connection.receive_queue());
  emit_window(script, socket, connection.window());
  emit_content(script, socket, TcpQueue::Send,
               std::string_view(connection.send_queue()).substr(0, unacknowledged - connection.unsent()));
}

void enliven_connection(const image::InetSocket& record, int socket) {
  end_tcp_repair(socket, recorded_option(record.options(), SOL_SOCKET, SO_REUSEADDR, 0));
  const image::TcpConnection& connection = record.connection();
  std::string_view unsent = connection.send_queue();
  unsent.remove_prefix(unsent.size() - connection.unsent());
  while (!unsent.empty()) {
    const ssize_t sent = ::send(socket, unsent.data(), unsent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      throw errno_error("cannot send the {} bytes that wait to be sent", unsent.size());
    }
    unsent.remove_prefix(static_cast<size_t>(sent));
  }
}

}  // namespace making

}  // namespace godwit
