#include "dump/tcp.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "kernel/error.h"
#include "kernel/log.h"
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

/// A program that walks through a queue by MSG_PEEK (SO_PEEK_OFF) goes on where it was.
class PeekFromTheStart {
 public:
  explicit PeekFromTheStart(int socket) : socket_(socket) {
    socklen_t size = sizeof before_;
    if (::getsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &before_, &size) != 0) {
      before_ = kOff;  // before Linux 6.9 TCP sockets don't have it
    }
    set(kOff);
  }
  ~PeekFromTheStart() { set(before_); }
  PeekFromTheStart(const PeekFromTheStart&) = delete;
  PeekFromTheStart& operator=(const PeekFromTheStart&) = delete;

 private:
  static constexpr int kOff = -1;

  void set(int offset) const {
    if (before_ != kOff) {
      static_cast<void>(::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
    }
  }

  int socket_;
  int before_ = kOff;
};

short events(int socket) {
  pollfd poll{socket, POLLIN | POLLRDHUP, 0};
  return ::poll(&poll, 1, 0) > 0 ? poll.revents : short{0};
}

/// Of a connection that has come to its end, which is in no mode and no lock.
void read_end(int socket, image::TcpConnection& record) {
  std::string unread(ask(socket, SIOCINQ, "SIOCINQ"), '\0');
  const ssize_t got =
      unread.empty() ? 0 : ::recv(socket, unread.data(), unread.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 || static_cast<size_t>(got) != unread.size()) {
    throw errno_error("cannot look at the {} bytes that nobody has read", unread.size());
  }
  record.set_state(static_cast<uint32_t>(TcpState::Close));
  record.set_receive_queue(std::move(unread));
  record.set_error((events(socket) & POLLERR) != 0);
}

void read_opening(int socket, image::TcpConnection& record) {
  TcpRepair repair(socket);
  record.set_state(static_cast<uint32_t>(TcpState::SynSent));
  record.set_send_end(repair.end_of(TcpQueue::Send) - 1);  // behind the SYN
}

/// Packets that had come in before the lock may still change the connection while it is looked at.
bool read_once(int socket, image::TcpConnection& record) {
  const tcp_info info = tcp_info_of(socket);
  const TcpState state = state_of(info);
  if (state == TcpState::Close) {
    read_end(socket, record);
    return true;
  }
  if (state == TcpState::SynSent) {
    read_opening(socket, record);
    return state_of(tcp_info_of(socket)) == state;
  }
  const Counts counts = count(socket);
  std::string unread(counts.unread, '\0');
  std::string unacknowledged(counts.unacknowledged == 0 ? 0 : counts.unacknowledged + kSpare, '\0');
  const Look found = look(socket, unread, unacknowledged);
  if (count(socket) != counts || state_of(tcp_info_of(socket)) != state) {
    return false;
  }
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
  record.set_fin_unsent(fin_waits && counts.unsent > 0);
  record.set_unsent(counts.unsent - (record.fin_unsent() ? 1 : 0));
  record.set_receive_shut(!has_received_fin(state) && (events(socket) & POLLRDHUP) != 0);
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

bool was_tcp_connection(int socket) {
  if (state_of(tcp_info_of(socket)) != TcpState::Close) {
    return false;
  }
  // Reads of one that never was connected, or has been disconnected, fail. An error isn't to be taken away.
  char byte = 0;
  return (events(socket) & POLLERR) != 0 || ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

TcpConnections::~TcpConnections() {
  if (keeping_) {
    try {
      kept_->remove(tuples_);
    } catch (const Error& e) {
      log::warning("connections stay locked: {}", e.what());
    }
  }
}

void TcpConnections::check(int socket, const std::string& name, const DumpOptions& options) {
  const tcp_info info = tcp_info_of(socket);
  const TcpState state = state_of(info);
  if (state == TcpState::Listen) {
    if (info.tcpi_unacked > 0) {
      throw refusal("{}, a listening TCP socket with connections that wait to be accepted,", name);
    }
    return;
  }
  if (state == TcpState::Close) {
    // Nobody can ask for an error without taking it away. That of a connection which the peer had agreed to,
    // and with it to some options, is taken for a reset.
    if ((events(socket) & POLLERR) != 0 && info.tcpi_options == 0) {
      throw refusal("{}, a TCP socket whose connection has failed, which nobody knows yet,", name);
    }
    return;
  }
  if (!options.tcp_established) {
    throw Error(fmt::format("{} is a TCP connection", name), 0, "--tcp-established keeps TCP connections");
  }
  if (state == TcpState::SynReceived) {
    throw refusal("{}, a TCP connection that is being opened from both sides,", name);
  }
  const short now = events(socket);
  if ((now & POLLPRI) != 0) {
    throw refusal("{}, a TCP connection with urgent data,", name);
  }
  if ((now & POLLERR) != 0) {
    throw refusal("{}, a TCP connection with errors or messages about what was sent that nobody has read,",
                  name);
  }
}

TcpDiag& TcpConnections::diag() {
  if (!diag_) {
    diag_.emplace();
  }
  return *diag_;
}

const TcpSocketInfo* TcpConnections::find(uint64_t inode, int family, TcpState state) {
  const auto [listed, is_new] = listed_.try_emplace({family, state});
  if (is_new) {
    for (TcpSocketInfo& info : diag().list(family, state)) {
      listed->second[info.inode] = std::move(info);
    }
  }
  const auto found = listed->second.find(inode);
  return found == listed->second.end() ? nullptr : &found->second;
}

void TcpConnections::check_listening(uint64_t inode, int family, const std::string& name) {
  const TcpSocketInfo* info = find(inode, family, TcpState::Listen);
  if (info != nullptr && info->has_md5_keys) {
    throw refusal("{} with keys to sign segments (TCP_MD5SIG)", name);
  }
}

/// Empty: it isn't in that state any more.
std::string TcpConnections::remote_address(const Connection& connection, TcpState state) {
  if (state == TcpState::SynSent) {
    const TcpSocketInfo* info = find(connection.record->inode(), connection.record->family(), state);
    return info == nullptr ? std::string() : info->remote;
  }
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(connection.socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return {};
  }
  return {reinterpret_cast<const char*>(&storage), size};
}

void TcpConnections::add(Fd socket, std::string name, image::InetSocket& record) {
  Connection made{std::move(socket), std::move(name), &record};
  const TcpState state = state_of(tcp_info_of(made.socket.get()));
  if (state == TcpState::Close) {
    if (was_tcp_connection(made.socket.get())) {
      connections_.push_back(std::move(made));
    }
    return;
  }
  record.set_remote_address(remote_address(made, state));
  if (record.remote_address().empty()) {
    throw error("{} has changed its state meanwhile", made.name);
  }
  const TcpTuple tuple = tcp_tuple(record.local_address(), record.remote_address());
  if (const auto listed = diag().find(record.family(), tuple); listed && listed->has_md5_keys) {
    throw refusal("{} with keys to sign segments (TCP_MD5SIG)", made.name);
  }
  tuples_.push_back(tuple);
  connections_.push_back(std::move(made));
}

void TcpConnections::lock() {
  if (!tuples_.empty() && options_.network_lock == NetworkLock::Nftables) {
    kept_ = std::make_unique<KeptTcpLocks>();
    lock_ = std::make_unique<TcpLock>();
    lock_->add(tuples_);
  }
}

void TcpConnections::read() {
  lock();
  for (const Connection& connection : connections_) {
    with_context([&] { return connection.name; },
                 [&] {
                   const PeekFromTheStart peek(connection.socket.get());
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
