#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

/// TCP_REPAIR: the state of a connection can be read and set. Needs CAP_NET_ADMIN in the user namespace that
/// owns the socket's network namespace. See tcp(7) and linux/tcp.h.
namespace godwit {

enum class TcpQueue : int { None = 0, Receive = 1, Send = 2 };

/// struct tcp_repair_window.
struct TcpWindow {
  uint32_t last_update = 0;  // snd_wl1: of the segment that last changed the peer's window
  uint32_t peers = 0;        // snd_wnd: what the peer has room for
  uint32_t peers_most = 0;   // max_window
  uint32_t ours = 0;         // rcv_wnd: what the peer was told
  uint32_t ours_told = 0;    // rcv_wup: when it was told
};

/// While it lives, a socket that isn't listening is in repair mode. The kernel then forgets SO_REUSEADDR,
/// which is set again at the end; and it sends a window probe.
class TcpRepair {
 public:
  /// Throws Error. The descriptor stays the caller's.
  explicit TcpRepair(int socket);
  ~TcpRepair();
  TcpRepair(const TcpRepair&) = delete;
  TcpRepair& operator=(const TcpRepair&) = delete;

  /// The number behind the queue's last byte, a FIN included. Throws Error.
  [[nodiscard]] uint32_t end_of(TcpQueue queue);
  /// What is in the queue, at most `most` bytes of it, into `buffer`; returns how many. Throws Error.
  [[nodiscard]] size_t peek(TcpQueue queue, char* buffer, size_t most);
  [[nodiscard]] TcpWindow window() const;
  /// The clock of the timestamps that we send, as the socket counts it.
  [[nodiscard]] uint32_t timestamp() const;
  /// What was agreed on.
  [[nodiscard]] uint32_t segment_size() const;
  /// The socket stays in repair mode: when it is closed, the peer hears nothing.
  void keep() { kept_ = true; }

 private:
  void choose(TcpQueue queue);

  int socket_;
  int reuse_address_;
  bool kept_ = false;
};

/// Ends the repair mode of a socket that has been restored; `reuse_address`: SO_REUSEADDR. Throws Error.
void end_tcp_repair(int socket, int reuse_address);

}  // namespace godwit
