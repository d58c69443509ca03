#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "dump/freezer.h"
#include "images-format/mm.pb.h"
#include "images-format/task.pb.h"
#include "kernel/procfs.h"

namespace godwit {

/// A restartable sequence (rseq(2)) in whose middle a thread was stopped.
struct CriticalSection {
  uint64_t pointer = 0;     // address of the rseq_cs field in the thread's area
  uint64_t descriptor = 0;  // what stood there
};

/// What is being learned about one thread. `record` lies in its task's record.
struct ThreadState {
  pid_t tid = 0;
  procfs::Status status;
  image::Thread* record = nullptr;
  std::optional<CriticalSection> critical_section;
};

/// What is being learned about one task of the frozen tree. The collectors fill it, each its part.
struct TaskState {
  const FrozenTask* frozen = nullptr;
  const TaskState* parent = nullptr;  // null: the root
  image::Task record;
  image::Mm mm;                      // zombies have none: id 0
  std::vector<ThreadState> threads;  // leader first
  std::vector<procfs::Map> maps;     // with flags

  [[nodiscard]] pid_t pid() const { return frozen->pid(); }
};

}  // namespace godwit
