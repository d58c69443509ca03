#include "dump/tcp.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <optional>

#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/namespace.h"
#include "kernel/tcp_repair.h"
#include "kernel/tcp_state.h"

namespace godwit {

namespace {

constexpr size_t kSpare = 65536;  // a segment that has been acknowledged in part is in the queue as a whole
constexpr int kAttempts = 100;

/// What is in the queues, counted before the connection is looked at: a FIN counts as a byte.
struct Counts {
  uint32_t unread = 0;
  uint32_t unacknowledged = 0;
  uint32_t unsent = 0;
  bool operator==(const Counts&) const = default;
};

uint32_t ask(int socket, unsigned long request, const char* what) {
  int value = 0;
  if (::ioctl(socket, request, &value) != 0) {
    throw errno_error("cannot ask for {}", what);
  }
  return static_cast<uint32_t>(value);
}

Counts count(int socket) {
  return {ask(socket, SIOCINQ, "SIOCINQ"), ask(socket, SIOCOUTQ, "SIOCOUTQ"),
          ask(socket, SIOCOUTQNSD, "SIOCOUTQNSD")};
}

void fill(image::TcpWindow& record, const TcpWindow& window) {
  record.set_last_update(window.last_update);
  record.set_peers(window.peers);
  record.set_peers_most(window.peers_most);
  record.set_ours(window.ours);
  record.set_ours_told(window.ours_told);
}

/// Repair mode lasts as short as can be: whatever ends this process in between leaves the socket in it.
struct Look {
  uint32_t receive_end = 0;
  uint32_t send_end = 0;
  size_t received = 0;
  size_t sent = 0;
  TcpWindow window;
  uint32_t timestamp = 0;
  uint32_t segment_size = 0;
};

Look look(int socket, std::string& unread, std::string& unacknowledged) {
  TcpRepair repair(socket);
  Look found;
  found.receive_end = repair.end_of(TcpQueue::Receive);
  if (!unread.empty()) {
    found.received = repair.peek(TcpQueue::Receive, unread.data(), unread.size());
  }
  found.send_end = repair.end_of(TcpQueue::Send);
  if (!unacknowledged.empty()) {
    found.sent = repair.peek(TcpQueue::Send, unacknowledged.data(), unacknowledged.size());
  }
  found.window = repair.window();
  found.timestamp = repair.timestamp();
  found.segment_size = repair.segment_size();
  return found;
}

/// Packets that had come in before the lock may still change the connection while it is looked at.
bool read_once(int socket, image::TcpConnection& record) {
  const tcp_info info = tcp_info_of(socket);
  const Counts counts = count(socket);
  std::string unread(counts.unread, '\0');
  std::string unacknowledged(counts.unacknowledged == 0 ? 0 : counts.unacknowledged + kSpare, '\0');
  const Look found = look(socket, unread, unacknowledged);
  if (count(socket) != counts || tcp_info_of(socket).tcpi_state != info.tcpi_state) {
    return false;
  }
  const auto state = static_cast<TcpState>(info.tcpi_state);
  record.set_state(info.tcpi_state);
  record.set_receive_end(found.receive_end - (has_received_fin(state) ? 1 : 0));
  record.set_send_end(found.send_end - (has_written_fin(state) ? 1 : 0));
  const bool fin_waits = has_written_fin(state) && state != TcpState::FinWait2;
  const uint32_t data = counts.unacknowledged - (fin_waits ? 1 : 0);
  if (found.received != counts.unread || found.sent < data) {
    throw error("{} bytes are in the queues, but {} and {} can be read", counts.unread + data, found.received,
                found.sent);
  }
  record.set_receive_queue(std::move(unread));
  record.set_send_queue(unacknowledged.substr(found.sent - data, data));
  record.set_unsent(counts.unsent - (fin_waits && counts.unsent > 0 ? 1 : 0));
  record.set_segment_size(found.segment_size);
  record.set_selective_acknowledgement((info.tcpi_options & TCPI_OPT_SACK) != 0);
  if ((info.tcpi_options & TCPI_OPT_WSCALE) != 0) {
    record.set_send_scale(info.tcpi_snd_wscale);
    record.set_receive_scale(info.tcpi_rcv_wscale);
  }
  if ((info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0) {
    record.set_timestamp(found.timestamp);
  }
  fill(*record.mutable_window(), found.window);
  return true;
}

}  // namespace

TcpConnections::~TcpConnections() {
  if (keeping_) {
    try {
      kept_->remove(tuples_);
    } catch (const Error& e) {
      log::warning("connections stay locked: {}", e.what());
    }
  }
}

void TcpConnections::add(Fd socket, std::string name, image::InetSocket& record) {
  const TcpTuple tuple = tcp_tuple(record.local_address(), record.remote_address());
  tuples_.push_back(tuple);
  connections_.push_back({std::move(socket), std::move(name), &record, tuple});
}

void TcpConnections::read(int net_namespace) {
  if (connections_.empty()) {
    return;
  }
  if (options_.network_lock == NetworkLock::Nftables) {
    std::optional<EnteredNamespace> inside;
    if (net_namespace >= 0) {
      inside.emplace("net", net_namespace);
    }
    kept_ = std::make_unique<KeptTcpLocks>();
    lock_ = std::make_unique<TcpLock>();
    lock_->add(tuples_);
  }
  for (const Connection& connection : connections_) {
    with_context([&] { return connection.name; },
                 [&] {
                   int attempt = 0;
                   while (!read_once(connection.socket.get(), *connection.record->mutable_connection())) {
                     if (++attempt == kAttempts) {
                       throw error("it doesn't stand still although its packets are dropped");
                     }
                   }
                 });
  }
}

void TcpConnections::let_go() {
  lock_.reset();
}

void TcpConnections::keep_locked() {
  if (kept_ != nullptr) {
    keeping_ = true;
    kept_->add(tuples_, fmt::format("task {}", options_.pid));
  }
}

void TcpConnections::part(bool ending) {
  keeping_ = false;
  for (const Connection& connection : connections_) {
    try {
      if (ending) {
        TcpRepair(connection.socket.get()).keep();
      }
    } catch (const Error& e) {
      log::warning("{}: its other end may hear that it is closed: {}", connection.name, e.what());
    }
  }
}

}  // namespace godwit
