#include "dump/private_pages.h"

#include <sys/mman.h>

#include <algorithm>

#include "kernel/error.h"

namespace godwit {

namespace {

bool may_hold_private_pages(const image::Mapping& mapping) {
  return !mapping.shared() && mapping.backing() != image::Mapping::VVAR;
}

std::vector<PageRange> areas_of(const image::Mm& mm) {
  std::vector<PageRange> areas;
  for (const image::Mapping& mapping : mm.mappings()) {
    if (may_hold_private_pages(mapping)) {
      areas.push_back({mapping.start(), mapping.end()});
    }
  }
  return areas;
}

/// Calls `visit(start, end)` for what `range` has in common with the ranges of
/// `others` (ascending).
template <typename Visit>
void for_each_overlap(const PageRange& range, const std::vector<PageRange>& others, Visit&& visit) {
  auto other =
      std::lower_bound(others.begin(), others.end(), range.start,
                       [](const PageRange& candidate, uint64_t start) { return candidate.end <= start; });
  for (; other != others.end() && other->start < range.end; ++other) {
    visit(std::max(range.start, other->start), std::min(range.end, other->end));
  }
}

void check(const image::Mapping& mapping, const PageRange& range) {
  if (range.guard) {
    throw refusal("mapping {:x}-{:x} (guard pages at {:x})", mapping.start(), mapping.end(), range.start);
  }
  if (mapping.backing() == image::Mapping::VDSO) {
    throw refusal("mapping {:x}-{:x} (a vdso that has been written to)", mapping.start(), mapping.end());
  }
}

}  // namespace

std::unordered_set<const TaskState*> tasks_that_may_share(const std::deque<TaskState>& tasks) {
  std::unordered_set<const TaskState*> sharers;
  for (const TaskState& task : tasks) {
    const bool mergeable = std::any_of(task.maps.begin(), task.maps.end(), [](const procfs::Map& map) {
      return map.has(procfs::VmFlag::Mergeable);
    });
    const bool forked = (task.frozen->stat.flags & procfs::kForkedWithoutExec) != 0;
    if (mergeable || forked) {
      sharers.insert(&task);
    }
    if (forked && task.parent != nullptr) {
      sharers.insert(task.parent);
    }
  }
  return sharers;
}

void PrivatePages::add(const TaskState& task, bool may_share, const UnchangedPages& unchanged) {
  Found& own = found_.emplace(task.pid(), Found{Pagemap(task.pid()), {}}).first->second;
  const auto parent = task.parent == nullptr ? found_.end() : found_.find(task.parent->pid());
  const Found* inherited_from = parent == found_.end() ? nullptr : &parent->second;
  const MemoryCopier::Object object = copier_.add_address_space(task.mm.memory_object(), task.pid(),
                                                                may_share ? &own.pagemap : nullptr, running_);

  const std::vector<PageRange> anonymous = own.pagemap.anonymous(areas_of(task.mm));
  auto range = anonymous.begin();
  for (const image::Mapping& mapping : task.mm.mappings()) {
    while (range != anonymous.end() && range->end <= mapping.start()) {
      ++range;
    }
    if (!may_hold_private_pages(mapping)) {
      continue;
    }
    for (auto r = range; r != anonymous.end() && r->start < mapping.end(); ++r) {
      check(mapping, *r);
      const PageRange piece{std::max(r->start, mapping.start()), std::min(r->end, mapping.end())};
      own.ranges.push_back(piece);
      add_range(object, own, inherited_from, piece, (mapping.prot() & PROT_READ) != 0, unchanged);
    }
  }
}

void PrivatePages::add_range(MemoryCopier::Object object, const Found& own, const Found* parent,
                             const PageRange& range, bool readable, const UnchangedPages& unchanged) {
  uint64_t copied_to = range.start;
  const auto copy_up_to = [&](uint64_t end) {
    if (end > copied_to) {
      add_own(object, {copied_to, end}, readable, unchanged);
    }
    copied_to = end;
  };
  if (parent != nullptr) {
    for_each_overlap(range, parent->ranges, [&](uint64_t start, uint64_t end) {
      const size_t pages = (end - start) / kPageSize;
      std::vector<PagemapEntry> mine(pages);
      own.pagemap.read(start, mine);
      const auto shared = [](const PagemapEntry& entry) {
        return entry.swapped() || (entry.present() && !entry.exclusive());
      };
      if (std::none_of(mine.begin(), mine.end(), shared)) {
        return;
      }
      std::vector<PagemapEntry> theirs(pages);
      parent->pagemap.read(start, theirs);
      for (size_t i = 0; i < pages;) {
        size_t same = 0;
        while (i + same < pages && shared(mine[i + same]) && mine[i + same].same_page(theirs[i + same])) {
          ++same;
        }
        if (same > 0) {
          const uint64_t at = start + i * kPageSize;
          copy_up_to(at);
          if (!running_) {
            copier_.add_inherited(object, at / kPageSize, same);
          }
          copied_to = at + same * kPageSize;
        }
        i += std::max<size_t>(same, 1);
      }
    });
  }
  copy_up_to(range.end);
}

void PrivatePages::add_own(MemoryCopier::Object object, const PageRange& range, bool readable,
                           const UnchangedPages& unchanged) {
  uint64_t done = range.start;
  const auto copy_up_to = [&](uint64_t end) {
    if (end > done) {
      copier_.add_pages(object, done / kPageSize, (end - done) / kPageSize, readable);
    }
  };
  for_each_overlap(range, unchanged.ranges, [&](uint64_t start, uint64_t end) {
    copy_up_to(start);
    copier_.add_in_parent(object, unchanged.parent_object, start / kPageSize, (end - start) / kPageSize);
    done = end;
  });
  copy_up_to(range.end);
}

}  // namespace godwit
