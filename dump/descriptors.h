#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "dump/dump.h"
#include "dump/file.h"
#include "dump/namespace.h"
#include "dump/shared_memory.h"
#include "dump/tcp.h"
#include "images-format/checkpoint_writer.h"

namespace godwit {

/// The descriptor tables of a frozen tree: which open file descriptions there are, who shares them
/// (kcmp(2)), and what each is. The kinds are in dump/descriptor_kind.h's registry.
class DescriptorCollector {
 public:
  /// All stay the caller's.
  DescriptorCollector(FileTable& files, SharedMemoryTable& shared_memory, NamespaceTable& namespaces,
                      const DumpOptions& options);
  ~DescriptorCollector();

  /// All descriptors of task `pid`. Tasks that share a table (CLONE_FILES) get the same id.
  /// Returns the DescriptorTable's id. Throws Error that names descriptor and reason for what isn't
  /// supported.
  uint32_t collect(pid_t pid);
  /// What can only be said when all tasks have been seen (the other end of a pipe is outside the tree),
  /// and contents of queues. Throws Error. The tree must still stand.
  void finish();
  void write(CheckpointWriter& writer) const;
  /// TCP connections, whose packets are dropped from `finish` on.
  [[nodiscard]] TcpConnections& connections();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace godwit
