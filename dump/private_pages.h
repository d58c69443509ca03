#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <unordered_set>
#include <vector>

#include "dump/memory.h"
#include "dump/task_state.h"
#include "kernel/pagemap.h"

namespace godwit {

/// Tasks some of whose pages may be mapped by others too. `tasks` with their maps.
[[nodiscard]] std::unordered_set<const TaskState*> tasks_that_may_share(const std::deque<TaskState>& tasks);

/// Pages of a task that are as in the parent checkpoint.
struct UnchangedPages {
  uint64_t parent_object = 0;     // MemoryObject there that has them
  std::vector<PageRange> ranges;  // ascending
};

/// Finds the pages that belong to single tasks: anonymous memory, and pages of
/// private file mappings that have been written. Those that parent and child
/// still share copy-on-write are saved with the parent only.
class PrivatePages {
 public:
  /// `running`: the tasks run while they are copied, as for a pre-dump. What a task shares with its parent is
  /// then left out: it may be another page when the parent's is read.
  explicit PrivatePages(MemoryCopier& copier, bool running = false) : copier_(copier), running_(running) {}
  /// Adds the pages of one task to the copier, as object
  /// `task.mm.memory_object()`. Parents first. Throws Error for what can't be
  /// copied (guard regions, a vdso that was written to). `may_share`: the task
  /// may have pages that are mapped elsewhere too: it forked, was forked
  /// without exec, or lets pages be merged. Must outlive the copying.
  void add(const TaskState& task, bool may_share, const UnchangedPages& unchanged = {});

 private:
  struct Found {
    Pagemap pagemap;
    std::vector<PageRange> ranges;  // ascending; each within one mapping
  };

  /// The pages of [start, end) that the parent doesn't have too, and those that
  /// it has.
  void add_range(MemoryCopier::Object object, const Found& own, const Found* parent, const PageRange& range,
                 bool readable, const UnchangedPages& unchanged);
  /// Of these pages, which the parent task hasn't, those that the parent checkpoint has, and the others.
  void add_own(MemoryCopier::Object object, const PageRange& range, bool readable,
               const UnchangedPages& unchanged);

  MemoryCopier& copier_;
  bool running_;
  std::map<pid_t, Found> found_;
};

}  // namespace godwit
