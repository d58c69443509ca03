#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dump/dump.h"
#include "images-format/inet_socket.pb.h"
#include "kernel/fd.h"
#include "kernel/tcp_lock.h"

namespace godwit {

/// The TCP connections of the tree. From `lock` on their packets are dropped, until this object or this
/// process ends, or one of the functions says otherwise; what they say to the tree's sockets is undone then.
class TcpConnections {
 public:
  explicit TcpConnections(const DumpOptions& options) : options_(options) {}
  ~TcpConnections();
  TcpConnections(const TcpConnections&) = delete;
  TcpConnections& operator=(const TcpConnections&) = delete;

  /// `name` stands in errors. `record` has both addresses.
  void add(Fd socket, std::string name, image::InetSocket& record);
  /// Locks all that have been added, in their network namespace (-1: our own), and reads their state into
  /// their records. Throws Error.
  void read(int net_namespace);

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
    TcpTuple tuple;
  };

  const DumpOptions& options_;
  std::vector<Connection> connections_;
  std::vector<TcpTuple> tuples_;
  std::unique_ptr<TcpLock> lock_;
  std::unique_ptr<KeptTcpLocks> kept_;
  bool keeping_ = false;
};

}  // namespace godwit
