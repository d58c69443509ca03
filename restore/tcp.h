#pragma once

#include <memory>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/inet_socket.pb.h"
#include "kernel/tcp_lock.h"
#include "restore/descriptor_kind.h"
#include "restore/restore.h"

namespace godwit {

/// The packets of a checkpoint's TCP connections are dropped while its sockets are being made: until
/// `release`, or until this object or this process ends.
class TcpLocks {
 public:
  /// In the calling thread's network namespace, which must be the tree's. Throws Error.
  TcpLocks(const CheckpointImage& image, const RestoreOptions& options);
  /// Packets pass, also if the dump had locked the connections. Throws Error.
  void release();

 private:
  std::vector<TcpTuple> connections_;
  std::unique_ptr<TcpLock> lock_;
  std::unique_ptr<KeptTcpLocks> kept_;
};

namespace making {

/// Emits what makes a socket that has its options the end of a connection. It stays in repair mode.
void emit_connection(const image::InetSocket& record, MakeContext& context, Arg socket);
/// Ends the repair mode, and does what is left to be done, through a descriptor in this process. Throws
/// Error.
void enliven_connection(const image::InetSocket& record, int socket);

}  // namespace making

}  // namespace godwit
