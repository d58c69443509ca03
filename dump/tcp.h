#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dump/dump.h"
#include "images-format/inet_socket.pb.h"
#include "kernel/fd.h"
#include "kernel/tcp_diag.h"
#include "kernel/tcp_lock.h"

namespace godwit {

/// Whether a TCP socket has been connected, has come to its end, and hasn't been taken for something new.
[[nodiscard]] bool was_tcp_connection(int socket);

/// The TCP connections of the tree. From `read` on their packets are dropped, until this object or this
/// process ends, or one of the functions says otherwise.
class TcpConnections {
 public:
  /// `options` stay the caller's.
  explicit TcpConnections(const DumpOptions& options) : options_(options) {}
  ~TcpConnections();
  TcpConnections(const TcpConnections&) = delete;
  TcpConnections& operator=(const TcpConnections&) = delete;

  /// What can't be kept: connections that are refused because of options or by name, and listening sockets
  /// with connections that wait. Throws Error.
  static void check(int socket, const std::string& name, const DumpOptions& options);
  // The next three: the calling thread is in the tree's network namespace.

  /// What only the kernel's list of all sockets tells of one that is listening. Throws a refusal.
  void check_listening(uint64_t inode, int family, const std::string& name);
  /// Notes a TCP socket that isn't listening; `record` has its local address, and gets its remote one if it
  /// is a connection. `name` stands in errors. Throws Error.
  void add(Fd socket, std::string name, image::InetSocket& record);
  /// Locks all that have been added, and reads their state into their records. Throws Error.
  void read();

  /// The tree runs on: nobody will restore these connections.
  void let_go();
  /// Whoever restores goes on with the connections: the lock outlives this process, unless this object ends
  /// without `part`. Throws Error.
  void keep_locked();
  /// The checkpoint is complete. `ending`: the tree is about to end, of which its peers won't hear.
  void part(bool ending);

 private:
  struct Connection {
    Fd socket;
    std::string name;
    image::InetSocket* record;
  };

  using Listed = std::map<uint64_t, TcpSocketInfo>;  // by inode

  TcpDiag& diag();
  const TcpSocketInfo* find(uint64_t inode, int family, TcpState state);
  std::string remote_address(const Connection& connection, TcpState state);
  void lock();

  const DumpOptions& options_;
  std::vector<Connection> connections_;
  std::vector<TcpTuple> tuples_;
  std::optional<TcpDiag> diag_;
  std::map<std::pair<int, TcpState>, Listed> listed_;  // by family
  std::unique_ptr<TcpLock> lock_;
  std::unique_ptr<KeptTcpLocks> kept_;
  bool keeping_ = false;
};

}  // namespace godwit
