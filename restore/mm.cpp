#include "restore/mm.h"

#include <fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <optional>

#include "kernel/error.h"
#include "restore/inherited_range.h"

namespace godwit {

namespace {

constexpr uint64_t kTaskEnd = 0x7ffffffff000;  // end of user space with four-level page tables
constexpr int kPrSetMemoryMerge = 67;
constexpr int kPrSetMdwe = 65;
constexpr long kSysMseal = 462;

bool is_vdso(const image::Mapping& mapping) {
  return mapping.backing() == image::Mapping::VDSO || mapping.backing() == image::Mapping::VVAR;
}

/// It is born after its cloner's memory has been filled.
bool born_filled(const PlannedNode& node) {
  return node.stage == CloneStage::Filled || node.stage == CloneStage::BeforeSessionFilled;
}

/// Whose mappings a node finds when it is born: its cloner's own, if that has made them by then, or what that
/// one was born with. Null: only the region and the parked vdso.
const image::Mm* mappings_at_birth(const Plan& plan, const PlannedNode& node) {
  if (node.cloner < 0) {
    return nullptr;
  }
  const PlannedNode& cloner = plan.nodes[static_cast<size_t>(node.cloner)];
  const bool laid_out = std::any_of(cloner.children.begin(), cloner.children.end(), [&](int child) {
    return plan.nodes[static_cast<size_t>(child)].stage == CloneStage::BeforeSessionFilled;
  });
  if (cloner.mm != nullptr && (born_filled(node) || (laid_out && node.stage == CloneStage::AfterSession))) {
    return cloner.mm;
  }
  return mappings_at_birth(plan, cloner);
}

/// The first run that ends behind `page`.
std::vector<PageRun>::const_iterator runs_from(const std::vector<PageRun>& runs, uint64_t page) {
  return std::partition_point(runs.begin(), runs.end(),
                              [&](const PageRun& run) { return run.first + run.count <= page; });
}

template <typename Predicate>
bool any_run(const std::vector<PageRun>& runs, uint64_t start, uint64_t end, Predicate predicate) {
  for (auto run = runs_from(runs, start / kPageSize); run != runs.end() && run->first < end / kPageSize;
       ++run) {
    if (predicate(*run)) {
      return true;
    }
  }
  return false;
}

/// Whether the coordinator will write into the mapping.
bool is_filled(const image::Mapping& mapping, const std::vector<PageRun>& runs) {
  return !mapping.shared() &&
         any_run(runs, mapping.start(), mapping.end(), [](const PageRun&) { return true; });
}

class Layout {
 public:
  Layout(ScriptBuilder& script, const PlannedNode& node, const LayoutContext& context)
      : script_(script),
        node_(node),
        context_(context),
        birth_(mappings_at_birth(context.plan, node)),
        parent_(node.shares_pages ? birth_ : nullptr),
        runs_(context.runs.at(node.mm->memory_object())) {}

  void emit() {
    find_kept();
    script_.subject([this_pid = node_.pid] { return fmt::format("task {}", this_pid); });
    const uint64_t vdso_place = context_.vdso.place_in(*node_.mm);
    uint64_t vdso_now = context_.region.park();
    if (birth_ != nullptr) {
      vdso_now = context_.vdso.place_in(*birth_);
      unmap_all_but_kept(vdso_now);
    }
    emit_mm_map();
    if (vdso_now != vdso_place) {
      context_.vdso.emit_move(script_, vdso_now, vdso_place);
    }
    for (const auto& mapping : node_.mm->mappings()) {
      if (!is_vdso(mapping)) {
        emit_mapping(mapping);
      }
    }
    close_file();
    drop_what_only_the_parent_has();
  }

 private:
  void find_kept() {
    if (parent_ == nullptr) {
      return;
    }
    for (const auto& mapping : node_.mm->mappings()) {
      const InheritedRange range = inherited_range(mapping, *parent_);
      if (!range.empty() && any_run(runs_, range.start, range.end,
                                    [](const PageRun& run) { return run.kind == image::PAGE_INHERITED; })) {
        kept_.push_back({range, mapping.backing() == image::Mapping::ANONYMOUS});
      }
    }
  }

  void unmap_all_but_kept(uint64_t vdso) {
    std::vector<InheritedRange> keep(kept_.begin(), kept_.end());
    if (vdso != 0) {
      keep.push_back({vdso, vdso + context_.vdso.bytes()});
    }
    keep.push_back({context_.region.start(), context_.region.limit()});
    std::sort(keep.begin(), keep.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
    uint64_t cursor = 0;
    for (const InheritedRange& range : keep) {
      if (range.start > cursor) {
        script_.call("unmap what it was born with", SYS_munmap, {cursor, range.start - cursor});
      }
      cursor = std::max(cursor, range.end);
    }
    script_.call("unmap what it was born with", SYS_munmap, {cursor, kTaskEnd - cursor});
  }

  void emit_mm_map() {
    const image::Mm& mm = *node_.mm;
    const uint64_t auxv =
        script_.bytes(std::as_bytes(std::span(mm.auxv().data(), static_cast<size_t>(mm.auxv_size()))));
    prctl_mm_map map{};
    map.start_code = mm.start_code();
    map.end_code = mm.end_code();
    map.start_data = mm.start_data();
    map.end_data = mm.end_data();
    map.start_brk = mm.start_brk();
    map.brk = mm.brk();
    map.start_stack = mm.start_stack();
    map.arg_start = mm.arg_start();
    map.arg_end = mm.arg_end();
    map.env_start = mm.env_start();
    map.env_end = mm.env_end();
    map.auxv = reinterpret_cast<__u64*>(auxv);  // NOLINT(performance-no-int-to-ptr): an address in the task
    map.auxv_size = static_cast<__u32>(static_cast<size_t>(mm.auxv_size()) * sizeof(uint64_t));
    map.exe_fd = UINT32_MAX;
    const uint64_t address = script_.object(map);
    // The link can only be changed while nothing of the old executable is mapped, as it is where pages are
    // kept.
    const bool set_exe = birth_ == nullptr || birth_->exe_file_id() != mm.exe_file_id();
    std::optional<Slot> exe;
    if (set_exe && mm.exe_file_id() != 0) {
      exe = context_.files.open(script_, mm.exe_file_id(), O_RDONLY);
      script_.store(address + offsetof(prctl_mm_map, exe_fd), *exe);
    }
    script_.call("set the layout of the address space", SYS_prctl,
                 {PR_SET_MM, PR_SET_MM_MAP, address, sizeof map, 0});
    if (exe) {
      script_.call("close the executable", SYS_close, {*exe});
      script_.release(*exe);
    }
    if (mm.thp_disabled() || (birth_ != nullptr && birth_->thp_disabled())) {
      script_.call("set the huge page policy", SYS_prctl,
                   {PR_SET_THP_DISABLE, mm.thp_disabled() ? 1 : 0, 0, 0, 0});
    }
  }

  void emit_mapping(const image::Mapping& mapping) {
    const image::Mapping* m = &mapping;
    script_.subject([m, pid = node_.pid] {
      return fmt::format("task {}: mapping {:x}-{:x}", pid, m->start(), m->end());
    });
    InheritedRange kept{mapping.end(), mapping.end()};
    for (const InheritedRange& range : kept_) {
      if (range.start < mapping.end() && range.end > mapping.start()) {
        kept = range;
      }
    }
    map(mapping, mapping.start(), kept.start);
    map(mapping, kept.end, mapping.end());
    for (const uint32_t advice : mapping.advice()) {
      if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE) {
        script_.call("give advice", SYS_madvise, {mapping.start(), mapping.end() - mapping.start(), advice});
      }
    }
  }

  void map(const image::Mapping& mapping, uint64_t start, uint64_t end) {
    if (start >= end) {
      return;
    }
    int flags = MAP_FIXED_NOREPLACE | (mapping.shared() ? MAP_SHARED : MAP_PRIVATE) |
                (mapping.grows_down() ? MAP_GROWSDOWN : 0) | (mapping.no_reserve() ? MAP_NORESERVE : 0);
    const int prot =
        static_cast<int>(mapping.prot()) | (is_filled(mapping, runs_) ? PROT_READ | PROT_WRITE : 0);
    const uint64_t offset = mapping.offset() + (start - mapping.start());
    Arg descriptor = -1;
    if (mapping.backing() == image::Mapping::ANONYMOUS) {
      flags |= MAP_ANONYMOUS;
    } else if (mapping.backing() == image::Mapping::SHARED_MEMORY) {
      descriptor = shared_memory(mapping);
    } else {
      descriptor = file(mapping);
    }
    script_.call("map it", SYS_mmap,
                 {start, end - start, prot, flags, descriptor,
                  mapping.backing() == image::Mapping::ANONYMOUS ? 0 : offset});
  }

  /// The mappings of one file mostly stand side by side: it is opened once.
  Slot file(const image::Mapping& mapping) {
    const int flags = mapping.shared() && mapping.may_write() ? O_RDWR : O_RDONLY;
    if (!open_ || open_id_ != mapping.file_id() || open_flags_ != flags) {
      close_file();
      open_ = context_.files.open(script_, mapping.file_id(), flags);
      open_id_ = mapping.file_id();
      open_flags_ = flags;
    }
    return *open_;
  }

  /// A shared mapping that could never be made writable comes from a read-only descriptor: it can't be made
  /// writable again, and doesn't stand in the way of a seal against writing.
  Arg shared_memory(const image::Mapping& mapping) {
    const int number = context_.shared_memory.at(mapping.shared_memory_id());
    if (!mapping.shared() || mapping.may_write()) {
      return number;
    }
    close_file();
    open_ = script_.call_to_slot(
        "open shared memory for reading", SYS_openat,
        {AT_FDCWD, script_.string(fmt::format("/proc/self/fd/{}", number)), O_RDONLY | O_CLOEXEC});
    open_flags_ = kSharedMemory;
    return *open_;
  }

  void close_file() {
    if (open_) {
      script_.call("close a mapped file", SYS_close, {*open_});
      script_.release(*open_);
      open_.reset();
    }
  }

  /// Pages that the parent has and the child has given back since.
  void drop_what_only_the_parent_has() {
    if (parent_ == nullptr) {
      return;
    }
    const std::vector<PageRun>& theirs = context_.runs.at(parent_->memory_object());
    for (const Kept& range : kept_) {
      uint64_t cursor = range.start;
      const auto drop_until = [&](uint64_t end) {
        if (end > cursor && any_run(theirs, cursor, end, [](const PageRun&) { return true; })) {
          script_.call("drop pages of the parent", SYS_madvise, {cursor, end - cursor, MADV_DONTNEED});
        }
      };
      for (auto run = runs_from(runs_, range.start / kPageSize);
           run != runs_.end() && run->first * kPageSize < range.end; ++run) {
        if (run->kind == image::PAGE_ZERO && range.anonymous) {
          continue;  // fresh memory reads as zero, too
        }
        drop_until(std::max(range.start, run->first * kPageSize));
        cursor = std::min(range.end, (run->first + run->count) * kPageSize);
      }
      drop_until(range.end);
    }
  }

  ScriptBuilder& script_;
  const PlannedNode& node_;
  const LayoutContext& context_;
  const image::Mm* birth_;
  const image::Mm* parent_;  // whose pages the node shares; null: it shares none
  const std::vector<PageRun>& runs_;
  struct Kept : InheritedRange {
    bool anonymous;
  };
  std::vector<Kept> kept_;
  std::optional<Slot> open_;
  uint32_t open_id_ = 0;
  int open_flags_ = 0;
  static constexpr int kSharedMemory = -1;  // as open_flags_: no file of the image
};

}  // namespace

void emit_clear_address_space(ScriptBuilder& script, const LayoutContext& context) {
  const Region& region = context.region;
  context.vdso.emit_move(script, context.vdso.start(), region.park());
  script.call("leave the coordinator's memory", SYS_munmap, {0, region.start()});
  script.call("leave the coordinator's memory", SYS_munmap, {region.limit(), kTaskEnd - region.limit()});
}

void emit_layout(ScriptBuilder& script, const PlannedNode& node, const LayoutContext& context) {
  Layout(script, node, context).emit();
}

void emit_finish_layout(ScriptBuilder& script, const PlannedNode& node, const LayoutContext& context) {
  const std::vector<PageRun>& runs = context.runs.at(node.mm->memory_object());
  for (const auto& mapping : node.mm->mappings()) {
    if (is_vdso(mapping)) {
      continue;
    }
    const image::Mapping* m = &mapping;
    const uint64_t size = mapping.end() - mapping.start();
    script.subject(
        [m, pid = node.pid] { return fmt::format("task {}: mapping {:x}-{:x}", pid, m->start(), m->end()); });
    if (mapping.locked()) {
      script.call("lock it", SYS_mlock2,
                  {mapping.start(), size, mapping.lock_on_fault() ? MLOCK_ONFAULT : 0});
    }
    for (const uint32_t advice : mapping.advice()) {
      if (advice != MADV_HUGEPAGE && advice != MADV_NOHUGEPAGE) {
        script.call("give advice", SYS_madvise, {mapping.start(), size, advice});
      }
    }
    if (!mapping.name().empty()) {
      script.call("name it", SYS_prctl,
                  {PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapping.start(), size, script.string(mapping.name())});
    }
    const int made_with =
        static_cast<int>(mapping.prot()) | (is_filled(mapping, runs) ? PROT_READ | PROT_WRITE : 0);
    // Inherited memory was made writable for the parent.
    if (made_with != static_cast<int>(mapping.prot()) || (node.shares_pages && !mapping.shared())) {
      script.call("set its protection", SYS_mprotect, {mapping.start(), size, mapping.prot()});
    }
    if (mapping.sealed()) {
      script.call("seal it", kSysMseal, {mapping.start(), size, 0});
    }
  }
  const image::Mm& mm = *node.mm;
  script.subject([pid = node.pid] { return fmt::format("task {}", pid); });
  if (mm.lock_future()) {
    script.call("lock future mappings", SYS_mlockall,
                {MCL_FUTURE | (mm.lock_future_on_fault() ? MCL_ONFAULT : 0)});
  }
  if (mm.merge_any()) {
    script.call("allow merging of pages", SYS_prctl, {kPrSetMemoryMerge, 1, 0, 0, 0});
  }
  if (mm.mdwe() != 0) {
    script.call("forbid writable code", SYS_prctl, {kPrSetMdwe, mm.mdwe(), 0, 0, 0});
  }
}

}  // namespace godwit
