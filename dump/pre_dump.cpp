#include "dump/pre_dump.h"

#include <dirent.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "dump/alike.h"
#include "dump/collectors.h"
#include "dump/file.h"
#include "dump/freezer.h"
#include "dump/header.h"
#include "dump/mapping.h"
#include "dump/maps_reader.h"
#include "dump/memory.h"
#include "dump/parent.h"
#include "dump/private_pages.h"
#include "dump/sharing.h"
#include "dump/task_tree.h"
#include "dump/write_tracking.h"
#include "images-format/pre_dump.pb.h"
#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::pair<std::string_view, const char*> kUntrackable[] = {
    {"anon_inode:[io_uring]", "io_uring"},
    {"anon_inode:[userfaultfd]", "userfaultfd"},
};

/// Through these the kernel writes to memory and tracks nothing. The dump would refuse them, but they may be
/// gone by then.
void refuse_untrackable_descriptors(pid_t pid) {
  const std::string directory = fmt::format("/proc/{}/fd", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(directory.c_str()), ::closedir);
  if (!list) {
    throw errno_error("cannot list {}", directory);
  }
  while (const dirent* entry = ::readdir(list.get())) {
    if (entry->d_name[0] == '.') {
      continue;
    }
    const std::string target = read_link(directory + "/" + entry->d_name);
    for (const auto& [link, name] : kUntrackable) {
      if (target == link) {
        throw refusal("descriptor {} ({})", entry->d_name, name);
      }
    }
  }
}

class PreDump {
 public:
  PreDump(const DumpOptions& options, const DumpCallbacks& callbacks)
      : options_(options),
        callbacks_(callbacks),
        header_(describe_machine()),
        tracking_(options.pid, true),
        parent_(open_parent(options)),
        writer_(make_writer(options, callbacks)),
        workers_(options.workers != 0 ? options.workers : usable_cpus()),
        copier_(writer_->pages(), workers_) {
    raise_descriptor_limit();
    header_.set_root_pid(options.pid);
    header_.set_pre_dump(true);
    if (parent_) {
      tracking_.build_on(*parent_);
    }
  }

  DumpReport run() {
    freeze_and_protect();
    tell("memory");
    const uint64_t start = monotonic_ns();
    copier_.copy([&](uint64_t bytes, uint64_t total) { tell("memory", bytes, total); });
    report_.memory_ns = monotonic_ns() - start;
    tell("write");
    write_records();
    check_cancelled();
    writer_->commit();
    tracking_.settle(writer_->name());
    return report_;
  }

 private:
  void tell(std::string_view stage, uint64_t bytes = 0, uint64_t total_bytes = 0) {
    if (callbacks_.progress) {
      callbacks_.progress(
          {.stage = stage, .bytes = bytes, .total_bytes = total_bytes, .tasks = tasks_.size()});
    }
  }

  /// All that needs the tree to stand still.
  void freeze_and_protect() {
    tell("freeze");
    Freezer freezer(options_.pid);
    const CriticalSectionsGivenBack at_last(tasks_);
    report_.freezing_ns = monotonic_ns() - freezer.began_ns();
    set_clocks(header_);
    frozen_ = freezer.tasks();
    maps_reader_.start(frozen_, workers_ > 1);
    tell("collect");
    for (const FrozenTask& task : frozen_) {
      if (!task.zombie()) {
        with_context([&] { return fmt::format("task {}", task.pid()); },
                     [&] { look_at(task, freezer.seccomp_suspended()); });
      }
    }
    const std::unordered_set<const TaskState*> sharers = tasks_that_may_share(tasks_);
    for (const TaskState& task : tasks_) {
      with_context([&] { return fmt::format("task {}", task.pid()); },
                   [&] { private_pages_.add(task, sharers.contains(&task), tracking_.unchanged(task)); });
    }
    std::vector<TaskState*> all;
    for (TaskState& task : tasks_) {
      all.push_back(&task);
    }
    tracking_.protect(all);
    freezer.check_all_stand();
    give_back_critical_sections(tasks_);
    freezer.let_go();
    report_.frozen_ns = monotonic_ns() - freezer.began_ns();
  }

  void look_at(const FrozenTask& frozen, bool seccomp_suspended) {
    check_cancelled();
    TaskState& task = tasks_.emplace_back();
    task.frozen = &frozen;
    const pid_t pid = frozen.pid();
    const auto parent = by_pid_.find(frozen.parent);
    task.parent = parent == by_pid_.end() ? nullptr : parent->second;
    by_pid_.emplace(pid, &task);
    if (const pid_t other = address_spaces_.first(pid); other != pid) {
      throw refusal("memory shared with task {} (CLONE_VM)", other);
    }
    look_at_leader(task, seccomp_suspended);
    refuse_untrackable_descriptors(pid);
    task.maps = maps_reader_.take(pid);
    tracking_.recognize(task);
    describe_layout(task.maps, task.mm);
    task.mm.set_memory_object(object_ids_.next());
    report_.tasks += 1;
    report_.threads += frozen.threads.size();
  }

  /// System calls will be injected into it.
  static void look_at_leader(TaskState& task, bool seccomp_suspended) {
    ThreadState& leader = task.threads.emplace_back();
    leader.tid = task.pid();
    leader.record = task.record.add_threads();
    leader.status = procfs::read_status(task.pid(), task.pid());
    refuse_visible_injection(leader, seccomp_suspended);
    collect_registers(leader.tid, *leader.record->mutable_registers());
    collect_rseq(task.pid(), leader);
  }

  void write_records() {
    const MemoryCopier::Totals totals = copier_.totals();
    if (totals.in_parent_pages > 0) {
      describe_parent(*parent_, options_.parent, header_);
    }
    writer_->add(header_);
    for (const TaskState& task : tasks_) {
      image::PreDumpedTask record;
      record.set_pid(task.pid());
      record.set_comm(task.frozen->stat.comm);
      record.set_memory_object(task.mm.memory_object());
      writer_->add(record);
    }
    copier_.write(*writer_);
    report_totals(totals, report_);
  }

  const DumpOptions& options_;
  const DumpCallbacks& callbacks_;
  DumpReport report_;
  image::Checkpoint header_;
  WriteTracking tracking_;
  std::optional<CheckpointImage> parent_;
  std::unique_ptr<CheckpointWriter> writer_;
  unsigned workers_;
  MapsReader maps_reader_;
  MemoryCopier copier_;
  MemoryObjectIds object_ids_;
  Sharers address_spaces_{Shared::AddressSpace};
  PrivatePages private_pages_{copier_, true};
  std::vector<FrozenTask> frozen_;
  std::deque<TaskState> tasks_;
  std::unordered_map<pid_t, const TaskState*> by_pid_;
};

}  // namespace

DumpReport pre_dump(const DumpOptions& options, const DumpCallbacks& callbacks) {
  return with_context([&] { return fmt::format("pre-dump of process {}", options.pid); },
                      [&] { return PreDump(options, callbacks).run(); });
}

}  // namespace godwit
