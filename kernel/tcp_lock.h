#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/netlink.h"
#include "kernel/tcp_tuple.h"

/// Connections whose packets are dropped, in both directions, so that the other end hears silence while there
/// is nobody who could answer: sets of connections, looked up by rules of nf_tables at the hooks where
/// packets have the addresses that sockets know them by.
namespace godwit {

enum class NetworkLock : uint8_t { Nftables, Skip };

/// Packets with this mark pass all locks (SO_MARK): what is played to a locked socket.
inline constexpr uint32_t kPassingMark = 0x676f6477;

/// Locked until this object or this process ends, whatever ends it.
class TcpLock {
 public:
  /// In the calling thread's network namespace. Throws Error.
  TcpLock();
  ~TcpLock();
  TcpLock(const TcpLock&) = delete;
  TcpLock& operator=(const TcpLock&) = delete;

  /// Throws Error.
  void add(std::span<const TcpTuple> connections);

 private:
  netlink::Connection connection_;
  std::string table_;
};

/// Locks that stay until somebody takes them away: the table `godwit` of a network namespace, which is there
/// as long as there are any.
class KeptTcpLocks {
 public:
  static constexpr std::string_view kTable = "godwit";

  struct Entry {
    TcpTuple connection;
    std::string comment;
  };

  /// In the calling thread's network namespace. Throws Error.
  KeptTcpLocks();

  /// `comment`: shown by nft(8), and read back. What is locked already stays as it is. Throws Error.
  void add(std::span<const TcpTuple> connections, const std::string& comment);
  /// What isn't locked is left out. Throws Error.
  void remove(std::span<const TcpTuple> connections);
  /// Empty where the kernel has no nf_tables, too. Throws Error.
  [[nodiscard]] std::vector<Entry> list();

 private:
  netlink::Connection connection_;
};

}  // namespace godwit
