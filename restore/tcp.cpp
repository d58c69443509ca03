#include "restore/tcp.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/tcp_repair.h"
#include "kernel/tcp_state.h"
#include "restore/socket_options.h"
#include "restore/tcp_packet.h"

namespace godwit {

TcpLocks::TcpLocks(const CheckpointImage& image, const RestoreOptions& options) {
  for (const auto* socket : image.all<image::InetSocket>()) {
    const bool at_its_end = static_cast<TcpState>(socket->connection().state()) == TcpState::Close;
    if (socket->has_connection() && !at_its_end) {
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

constexpr int kSackPermitted = 4;  // TCPOPT_SACK_PERM
constexpr int kSegmentSize = 2;    // TCPOPT_MAXSEG
constexpr int kWindowScale = 3;    // TCPOPT_WINDOW
constexpr int kTimestamps = 8;     // TCPOPT_TIMESTAMP
constexpr uint32_t kUsualSegment = 1460;
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

void emit_window(ScriptBuilder& script, Arg socket, const tcp_repair_window& window) {
  script.call("set the windows of a connection", SYS_setsockopt,
              {socket, int{IPPROTO_TCP}, TCP_REPAIR_WINDOW, script.object(window), sizeof window});
}

tcp_repair_window window_of(const image::TcpWindow& record) {
  return {record.last_update(), record.peers(), record.peers_most(), record.ours(), record.ours_told()};
}

/// While a FIN is still to come that has been received.
tcp_repair_window window_before_fin(const image::TcpConnection& connection) {
  constexpr uint32_t kEnough = 65535;
  tcp_repair_window window = window_of(connection.window());
  window.snd_wl1 = window.rcv_wup = connection.receive_end();
  window.rcv_wnd = kEnough;
  return window;
}

/// Lets the socket hear a segment, past all locks. What it answers is dropped by them.
void emit_segment(ScriptBuilder& script, const TcpTuple& tuple, const TcpSegment& segment) {
  sockaddr_storage to{};
  size_t size = sizeof(sockaddr_in);
  if (tuple.family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&to);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, tuple.local.data(), sizeof in->sin_addr);
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&to);
    in->sin6_family = AF_INET6;
    std::memcpy(&in->sin6_addr, tuple.local.data(), sizeof in->sin6_addr);
    size = sizeof *in;
  }
  const std::string packet = packet_from_peer(tuple, segment);
  const Slot raw = script.call_to_slot("make a raw socket", SYS_socket,
                                       {int{tuple.family}, int{SOCK_RAW} | SOCK_CLOEXEC, int{IPPROTO_RAW}});
  emit_socket_option(script, raw, SOL_SOCKET, SO_MARK, kPassingMark);
  script.call_expecting(
      "tell a socket what its peer had said", static_cast<int32_t>(packet.size()), SYS_sendto,
      {raw, script.bytes(std::as_bytes(std::span(packet))), packet.size(), 0, script.object(to), size});
  script.call("close a raw socket", SYS_close, {raw});
  script.release(raw);
}

void emit_shutdown(ScriptBuilder& script, Arg socket, int how) {
  script.call("shut a connection down", SYS_shutdown, {socket, how});
}

/// Brings an established connection, which has its queues, into its state.
void emit_closing(ScriptBuilder& script, Arg socket, const image::InetSocket& record) {
  const image::TcpConnection& connection = record.connection();
  const auto state = static_cast<TcpState>(connection.state());
  const TcpTuple tuple = tcp_tuple(record.local_address(), record.remote_address());
  TcpSegment segment;
  segment.sequence = connection.receive_end();
  segment.acknowledged = connection.send_end() - static_cast<uint32_t>(connection.send_queue().size());
  segment.window = static_cast<uint16_t>(
      std::min<uint32_t>(connection.window().peers() >> connection.send_scale(), UINT16_MAX));
  const bool peer_first = state != TcpState::Closing || connection.fin_unsent();
  if (has_received_fin(state) && peer_first) {
    segment.fin = true;
    emit_segment(script, tuple, segment);
  }
  if (has_written_fin(state) && !connection.fin_unsent()) {
    emit(script, socket, TCP_REPAIR_QUEUE, static_cast<int>(TcpQueue::Send));
    emit_shutdown(script, socket, SHUT_WR);
  }
  if (has_received_fin(state) && !peer_first) {
    segment.fin = true;
    emit_segment(script, tuple, segment);
  }
  if (state == TcpState::FinWait2) {
    ++segment.acknowledged;
    emit_segment(script, tuple, segment);
  }
  if (connection.receive_shut()) {
    emit_shutdown(script, socket, SHUT_RD);
  }
}

std::string with_port(std::string address, uint16_t port) {
  port = htons(port);
  std::memcpy(address.data() + offsetof(sockaddr_in, sin_port), &port, sizeof port);  // in both families
  return address;
}

void emit_address(ScriptBuilder& script, const char* doing, long call, Arg socket,
                  const std::string& address) {
  script.call(doing, call, {socket, script.bytes(std::as_bytes(std::span(address))), address.size()});
}

/// A connection that was, whose other end nobody can ask for any more: one with ourselves that is reset.
void emit_end(ScriptBuilder& script, Arg socket, const image::InetSocket& record) {
  const image::TcpConnection& connection = record.connection();
  const std::string& local = record.local_address();
  const std::string remote =
      with_port(local, static_cast<uint16_t>(1 + record.open_file().id() % UINT16_MAX));
  emit_address(script, "bind to its address", SYS_bind, socket, local);
  emit_queue_end(script, socket, TcpQueue::Receive, 0);
  emit_queue_end(script, socket, TcpQueue::Send, 1);
  emit_address(script, "take up a connection", SYS_connect, socket, remote);
  image::TcpConnection agreed;
  agreed.set_segment_size(kUsualSegment);
  agreed.set_selective_acknowledgement(true);
  emit_agreements(script, socket, agreed);  // by which the next dump knows that it was connected
  emit_content(script, socket, TcpQueue::Receive, connection.receive_queue());
  emit_segment(script, tcp_tuple(local, remote),
               {.sequence = static_cast<uint32_t>(connection.receive_queue().size()),
                .acknowledged = 1,
                .reset = true});
  if (!connection.error()) {
    script.call(
        "take the error away", SYS_getsockopt,
        {socket, SOL_SOCKET, SO_ERROR, script.reserve(sizeof(int)), script.object(socklen_t{sizeof(int)})});
  }
}

}  // namespace

void emit_connection(const image::InetSocket& record, MakeContext& context, Arg socket) {
  ScriptBuilder& script = context.script;
  const image::TcpConnection& connection = record.connection();
  const auto state = static_cast<TcpState>(connection.state());
  emit(script, socket, TCP_REPAIR, TCP_REPAIR_ON);
  if (state == TcpState::Close) {
    emit_end(script, socket, record);
    return;
  }
  const auto unread = static_cast<uint32_t>(connection.receive_queue().size());
  const auto unacknowledged = static_cast<uint32_t>(connection.send_queue().size());
  emit_queue_end(script, socket, TcpQueue::Receive, connection.receive_end() - unread);
  emit_queue_end(script, socket, TcpQueue::Send, connection.send_end() - unacknowledged);
  emit_address(script, "bind to its address", SYS_bind, socket, record.local_address());
  if (state == TcpState::SynSent) {
    return;
  }
  emit_address(script, "take up a connection", SYS_connect, socket, record.remote_address());
  emit_agreements(script, socket, connection);
  emit_content(script, socket, TcpQueue::Receive, connection.receive_queue());
  if (has_received_fin(state)) {
    emit_window(script, socket, window_before_fin(connection));
  }
  emit_content(script, socket, TcpQueue::Send,
               std::string_view(connection.send_queue()).substr(0, unacknowledged - connection.unsent()));
  emit_closing(script, socket, record);
  emit_window(script, socket, window_of(connection.window()));
}

namespace {

void send_rest(std::string_view unsent, int socket) {
  while (!unsent.empty()) {
    const ssize_t sent = ::send(socket, unsent.data(), unsent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      throw errno_error("cannot send the {} bytes that wait to be sent", unsent.size());
    }
    unsent.remove_prefix(static_cast<size_t>(sent));
  }
}

/// Asks the other end again, with the same first number: for it, that is the same question.
void connect_again(const std::string& remote, int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  ::fcntl(socket, F_SETFL, flags | O_NONBLOCK);
  const int result = ::connect(socket, reinterpret_cast<const sockaddr*>(remote.data()),
                               static_cast<socklen_t>(remote.size()));
  const int error = errno;
  ::fcntl(socket, F_SETFL, flags);
  if (result != 0 && error != EINPROGRESS) {
    throw Error("cannot connect", error);
  }
}

}  // namespace

void enliven_connection(const image::InetSocket& record, int socket) {
  const image::TcpConnection& connection = record.connection();
  end_tcp_repair(socket, recorded_option(record.options(), SOL_SOCKET, SO_REUSEADDR, 0));
  if (static_cast<TcpState>(connection.state()) == TcpState::SynSent) {
    connect_again(record.remote_address(), socket);
    return;
  }
  std::string_view unsent = connection.send_queue();
  unsent.remove_prefix(unsent.size() - connection.unsent());
  send_rest(unsent, socket);
  if (connection.fin_unsent() && ::shutdown(socket, SHUT_WR) != 0) {
    throw errno_error("cannot shut down a connection");
  }
}

}  // namespace making

}  // namespace godwit
