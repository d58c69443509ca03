#include "dump/write_tracking.h"

#include <algorithm>
#include <cerrno>

#include "dump/userfaultfd.h"
#include "images-format/parent.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/userfaultfd.h"

namespace godwit {

namespace {

/// A task that isn't there has none, as the freezer will say.
keeper::TaskIdentity identity_of(pid_t pid) {
  try {
    return {.pid = pid, .start_time = procfs::read_stat(pid).start_time};
  } catch (const Error&) {
    return {.pid = pid};
  }
}

std::vector<PageSpan> to_pages(const std::vector<PageRange>& ranges) {
  std::vector<PageSpan> pages;
  pages.reserve(ranges.size());
  for (const PageRange& range : ranges) {
    pages.push_back({range.start / kPageSize, range.end / kPageSize});
  }
  return pages;
}

std::vector<PageRange> tracked_areas(const image::Mm& mm) {
  std::vector<PageRange> areas;
  for (const image::Mapping& mapping : mm.mappings()) {
    if (!mapping.shared() && mapping.backing() == image::Mapping::ANONYMOUS) {
      areas.push_back({mapping.start(), mapping.end()});
    }
  }
  return areas;
}

}  // namespace

WriteTracking::WriteTracking(pid_t root, bool track) : root_(identity_of(root)), track_(track) {
  if (track && !userfaultfd::can_track_writes()) {
    throw refusal("tracking of writes on this kernel")
        .hint("it needs userfaultfd_wp_async and pagemap_scan, see 'godwit check'");
  }
  if (track) {
    keeper_ = keeper::Client::find_or_start(root_);
  }
}

void WriteTracking::build_on(const CheckpointImage& parent) {
  parent_ = &parent;
  if (!keeper_) {
    keeper_ = keeper::Client::find(root_);
  }
}

keeper::TaskIdentity WriteTracking::identity(const TaskState& task) {
  return {.pid = task.pid(), .start_time = task.frozen->stat.start_time};
}

const keeper::Client::Space* WriteTracking::space(const TaskState& task) const {
  return keeper_ ? keeper_->space(identity(task)) : nullptr;
}

void WriteTracking::recognize(TaskState& task) {
  for (procfs::Map& map : task.maps) {
    if (!map.has(procfs::VmFlag::UserfaultWp)) {
      continue;
    }
    if (!keeper_) {
      keeper_ = keeper::Client::find(root_);
    }
    // What is ours already can be registered again, and nothing changes; what is another's can't.
    const keeper::Client::Space* ours = space(task);
    if (ours != nullptr && userfaultfd::register_range(ours->userfaultfd, map.start, map.end) == 0) {
      map.flags &= ~(uint64_t{1} << static_cast<int>(procfs::VmFlag::UserfaultWp));
      registered_[task.pid()].push_back({map.start, map.end});
    }
  }
}

const image::MemoryObject* WriteTracking::object_in_parent(uint64_t id) const {
  for (const image::MemoryObject* object : parent_->all<image::MemoryObject>()) {
    if (object->id() == id) {
      return object;
    }
  }
  return nullptr;
}

UnchangedPages WriteTracking::unchanged(const TaskState& task) {
  if (parent_ == nullptr) {
    return {};
  }
  const keeper::Client::Space* kept = space(task);
  const bool known = kept != nullptr && kept->base.object != 0 && kept->base.checkpoint == parent_->name();
  const image::MemoryObject* object = known ? object_in_parent(kept->base.object) : nullptr;
  if (object == nullptr) {
    if (!warned_ && task.parent == nullptr) {
      log::warning(
          "writes to the memory of task {} weren't tracked since the parent checkpoint was made: "
          "all of it is saved",
          task.pid());
      warned_ = true;
    }
    return {};
  }
  const std::vector<PageRange> areas = tracked_areas(task.mm);
  const std::vector<PageSpan> unwritten =
      intersection(to_pages(Pagemap(task.pid()).unwritten(areas)), to_pages(areas));
  UnchangedPages unchanged{.parent_object = object->id(), .ranges = {}};
  for (const PageSpan& pages : intersection(unwritten, pages_of_kind(decode_runs(*object), has_content))) {
    unchanged.ranges.push_back({pages.first * kPageSize, pages.end * kPageSize});
  }
  return unchanged;
}

void WriteTracking::protect(const std::vector<TaskState*>& tasks) {
  if (!track_) {
    return;
  }
  keeper_->forget_bases();
  for (const TaskState* task : tasks) {
    try {
      protect(*task);
    } catch (const Error& e) {
      log::warning("task {}: writes to its memory can't be tracked, so that the next dump has all of it: {}",
                   task->pid(), e.what());
    }
  }
}

void WriteTracking::protect(const TaskState& task) {
  const std::vector<PageRange> areas = tracked_areas(task.mm);
  const keeper::Client::Space* kept = space(task);
  // ENOMEM: it was for the memory that the task had before it executed another program.
  if (kept == nullptr || areas.empty() ||
      userfaultfd::register_range(kept->userfaultfd, areas.front().start, areas.front().end) == ENOMEM) {
    Fd made = make_userfaultfd(task, finder_);
    userfaultfd::enable_write_tracking(made);
    keeper_->hold(identity(task), std::move(made));
    kept = space(task);
  }
  for (const PageRange& area : areas) {
    // Where that isn't possible all pages count as written.
    if (!was_registered(task, area) &&
        userfaultfd::register_range(kept->userfaultfd, area.start, area.end) == 0) {
      userfaultfd::unprotect(kept->userfaultfd, area.start, area.end);
    }
  }
  Pagemap(task.pid()).protect(areas);
  protected_[identity(task)] = task.mm.memory_object();
}

bool WriteTracking::was_registered(const TaskState& task, const PageRange& area) const {
  const auto found = registered_.find(task.pid());
  return found != registered_.end() && std::ranges::any_of(found->second, [&](const PageRange& before) {
           return before.start <= area.start && area.end <= before.end;
         });
}

void WriteTracking::settle(const CheckpointName& checkpoint) noexcept {
  if (!track_) {
    return;
  }
  try {
    for (const auto& [task, object] : protected_) {
      keeper_->settle(task, {.checkpoint = checkpoint, .object = object});
    }
    keeper_->commit();
  } catch (const Error& e) {
    log::warning("the next dump will save all memory again: {}", e.what());
  }
}

}  // namespace godwit
