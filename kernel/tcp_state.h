#pragma once

#include <linux/tcp.h>

#include <cstdint>

namespace godwit {

/// As the kernel numbers them: net/tcp_states.h.
enum class TcpState : uint8_t {
  Established = 1,
  SynSent,
  SynReceived,
  FinWait1,
  FinWait2,
  TimeWait,
  Close,
  CloseWait,
  LastAck,
  Listen,
  Closing,
};

/// There is another end, or somebody looks for one.
[[nodiscard]] constexpr bool is_connection(TcpState state) {
  return state != TcpState::Close && state != TcpState::Listen;
}

/// The peer has closed its side.
[[nodiscard]] constexpr bool has_received_fin(TcpState state) {
  return state == TcpState::CloseWait || state == TcpState::LastAck || state == TcpState::Closing;
}

/// We have closed ours.
[[nodiscard]] constexpr bool has_written_fin(TcpState state) {
  return state == TcpState::FinWait1 || state == TcpState::FinWait2 || state == TcpState::LastAck ||
         state == TcpState::Closing;
}

[[nodiscard]] inline TcpState state_of(const tcp_info& info) {
  return static_cast<TcpState>(info.tcpi_state);
}

/// Throws Error. See tcp(7), TCP_INFO.
[[nodiscard]] tcp_info tcp_info_of(int socket);

}  // namespace godwit
