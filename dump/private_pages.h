#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "dump/memory.h"
#include "dump/task_state.h"
#include "kernel/pagemap.h"

namespace godwit {

/// Finds the pages that belong to single tasks: anonymous memory, and pages of
/// private file mappings that have been written. Those that parent and child
/// still share copy-on-write are saved with the parent only.
class PrivatePages {
 public:
  explicit PrivatePages(MemoryCopier& copier) : copier_(copier) {}
  /// Adds the pages of one task to the copier, as object
  /// `task.mm.memory_object()`. Parents first. Throws Error for what can't be
  /// copied (guard regions, a vdso that was written to). `may_share`: the task
  /// may have pages that are mapped elsewhere too: it forked, was forked
  /// without exec, or lets pages be merged. Must outlive the copying.
  void add(const TaskState& task, bool may_share);

 private:
  struct Found {
    Pagemap pagemap;
    std::vector<PageRange> ranges;  // ascending; each within one mapping
  };

  /// The pages of [start, end) that the parent doesn't have too, and those that
  /// it has.
  void add_range(MemoryCopier::Object object, const Found& own, const Found* parent, const PageRange& range,
                 bool readable);

  MemoryCopier& copier_;
  std::map<pid_t, Found> found_;
};

}  // namespace godwit
