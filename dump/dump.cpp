#include "dump/dump.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_set>

#include "dump/alike.h"
#include "dump/cgroup.h"
#include "dump/collectors.h"
#include "dump/descriptors.h"
#include "dump/freezer.h"
#include "dump/header.h"
#include "dump/interview.h"
#include "dump/mapping.h"
#include "dump/maps_reader.h"
#include "dump/memory.h"
#include "dump/parent.h"
#include "dump/private_pages.h"
#include "dump/task_tree.h"
#include "dump/terminal.h"
#include "dump/write_tracking.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/ptrace.h"
#include "plan/plan.h"

namespace godwit {

namespace {

/// One dump. What takes time and can be done while the tree still runs is done
/// by the constructor.
class Dump {
 public:
  Dump(const DumpOptions& options, const DumpCallbacks& callbacks)
      : options_(options),
        callbacks_(callbacks),
        header_(describe_machine()),
        tracking_(options.pid, options.track),
        parent_(open_parent(options)),
        namespaces_(read_namespaces(::getpid(), ::gettid()), options),
        writer_(make_writer(options, callbacks)),
        workers_(options.workers != 0 ? options.workers : usable_cpus()),
        copier_(writer_->pages(), workers_),
        mappings_(files_, shared_memory_),
        descriptors_(files_, shared_memory_, namespaces_, options),
        cgroups_(options.cgroups, options.pid) {
    raise_descriptor_limit();
    if (parent_) {
      tracking_.build_on(*parent_);
    }
    header_.set_root_pid(options.pid);
    header_.set_shell_job(options.shell_job);
  }

  DumpReport run() {
    tell("freeze");
    Freezer freezer(options_.pid);
    const CriticalSectionsGivenBack at_last(tasks_);
    report_.freezing_ns = monotonic_ns() - freezer.began_ns();
    set_clocks(header_);
    if (callbacks_.frozen) {
      callbacks_.frozen();
    }
    maps_reader_.start(freezer.tasks(), workers_ > 1);
    tell("collect");
    collect(freezer);
    copy_memory();
    write_what_needs_the_tree();
    freezer.check_all_stand();
    const bool let_go_early = options_.after == DumpOptions::After::LeaveRunning && !callbacks_.complete;
    if (let_go_early) {
      give_back_critical_sections(tasks_);
      freezer.let_go();
      report_.frozen_ns = monotonic_ns() - freezer.began_ns();
    }
    tell("write");
    write_records();
    check_cancelled();
    if (options_.stream >= 0) {
      keep_connections();  // whoever reads it may restore it before we hear that all is read
    }
    writer_->commit();
    tell_complete();
    tracking_.settle(writer_->name());
    if (!let_go_early) {
      part_with(freezer);
    }
    writer_->part();
    return report_;
  }

 private:
  void tell(std::string_view stage, uint64_t bytes = 0, uint64_t total_bytes = 0) {
    if (callbacks_.progress) {
      callbacks_.progress(
          {.stage = stage, .bytes = bytes, .total_bytes = total_bytes, .tasks = tasks_.size()});
    }
  }

  void keep_connections() {
    if (options_.after != DumpOptions::After::LeaveRunning) {
      descriptors_.connections().keep_locked();
    }
  }

  void tell_complete() {
    try {
      if (callbacks_.complete) {
        callbacks_.complete();
      }
      if (options_.stream < 0) {
        keep_connections();
      }
    } catch (...) {
      writer_->retract();
      throw;
    }
  }

  void collect(const Freezer& freezer) {
    tasks_ = collect_task_tree(
        freezer, {.shell_job = options_.shell_job, .seccomp_suspended = freezer.seccomp_suspended()},
        namespaces_);
    namespaces_.collect(header_);
    files_.set_root(namespaces_.root_directory());
    files_.set_mounted(namespaces_.mounted_without_name());
    collect_controlling_terminals(tasks_, namespaces_, options_);
    report_.tasks = tasks_.size();
    for (TaskState& task : tasks_) {
      report_.threads += task.threads.size();
      if (!task.frozen->zombie()) {
        check_cancelled();
        with_context([&] { return fmt::format("task {}", task.pid()); }, [&] { collect_from_outside(task); });
        task.record.set_descriptor_table_id(descriptors_.collect(task.pid()));  // names the task itself
      }
    }
    cgroups_.collect_cgroups(namespaces_.cgroups_inside(), freezer.paused_by());
    refuse_what_cannot_be_made();
    check_cancelled();
    interview(tasks_);
    for (TaskState& task : tasks_) {
      if (!task.frozen->zombie()) {
        collect_signals(task);
      }
    }
    descriptors_.finish();
    if (options_.after == DumpOptions::After::LeaveRunning) {
      descriptors_.connections().let_go();
    }
  }

  /// Whoever restores would refuse it, when the tree is gone.
  void refuse_what_cannot_be_made() const {
    TreeRecords tree{
        .root_pid = options_.pid, .tasks = {}, .mms = {}, .copy_on_write_objects = {}, .namespaces = {}};
    for (const TaskState& task : tasks_) {
      tree.tasks.push_back(&task.record);
      tree.mms.push_back(&task.mm);
    }
    (void)make_plan(tree);
  }

  void collect_from_outside(TaskState& task) {
    const pid_t pid = task.pid();
    for (ThreadState& thread : task.threads) {
      with_context([&] { return fmt::format("thread {}", thread.tid); },
                   [&] { collect_thread(pid, thread); });
    }
    collect_process(pid, task.record);
    cgroups_.collect(task);
    numa_.warn(pid);
    task.mm.set_id(++last_mm_id_);
    task.mm.set_memory_object(object_ids_.next());
    task.record.set_mm_id(task.mm.id());
    collect_mm(pid, task.frozen->stat, task.mm);
    task.maps = maps_reader_.take(pid);
    tracking_.recognize(task);
    mappings_.collect(task);
    task.mm.set_exe_file_id(files_.add(fmt::format("/proc/{}/exe", pid), true));
  }

  void collect_thread(pid_t pid, ThreadState& thread) {
    image::Thread& record = *thread.record;
    if (ptrace::dispatches_system_calls(thread.tid)) {
      throw refusal("syscall user dispatch");
    }
    collect_registers(thread.tid, *record.mutable_registers());
    collect_rseq(pid, thread);
    collect_robust_list(thread.tid, record);
    collect_credentials(thread.status, *record.mutable_credentials());
    seccomp_filters_.collect(thread, record);
    collect_scheduling(thread.tid, *record.mutable_scheduling());
  }

  /// After the timers: one that runs out in between is then seen as a signal.
  void collect_signals(TaskState& task) {
    with_context([&] { return fmt::format("task {}", task.pid()); },
                 [&] {
                   for (ThreadState& thread : task.threads) {
                     collect_thread_signals(thread.tid, *thread.record);
                   }
                   collect_process_signals(task.pid(), task.record);
                   settle_expired_timers(task.record);
                 });
  }

  void copy_memory() {
    const uint64_t start = monotonic_ns();
    const std::unordered_set<const TaskState*> sharers = tasks_that_may_share(tasks_);
    for (const TaskState& task : tasks_) {
      if (!task.frozen->zombie()) {
        for (const ThreadState& thread : task.threads) {
          clear_critical_section(task.pid(), thread);
        }
        with_context([&] { return fmt::format("task {}", task.pid()); },
                     [&] { private_pages_.add(task, sharers.contains(&task), tracking_.unchanged(task)); });
      }
    }
    protect_memory();
    shared_memory_.add_pages(copier_, object_ids_);
    copier_.copy([&](uint64_t bytes, uint64_t total) { tell("memory", bytes, total); });
    report_.memory_ns = monotonic_ns() - start;
  }

  void protect_memory() {
    std::vector<TaskState*> living;
    for (TaskState& task : tasks_) {
      if (!task.frozen->zombie()) {
        living.push_back(&task);
      }
    }
    tracking_.protect(living);
  }

  /// The header is the first record of all; contents of files are read while
  /// their owner stands still.
  void write_what_needs_the_tree() {
    if (copier_.totals().in_parent_pages > 0) {
      describe_parent(*parent_, options_.parent, header_);
    }
    writer_->add(header_);
    files_.write(*writer_, object_ids_);
    namespaces_.write(*writer_, object_ids_);
  }

  void write_records() {
    for (const TaskState& task : tasks_) {
      writer_->add(task.record);
      if (!task.frozen->zombie()) {
        writer_->add(task.mm);
      }
    }
    shared_memory_.write(*writer_);
    seccomp_filters_.write(*writer_);
    cgroups_.write(*writer_);
    descriptors_.write(*writer_);
    copier_.write(*writer_);
    report_totals(copier_.totals(), report_);
  }

  void part_with(Freezer& freezer) {
    descriptors_.connections().part(options_.after == DumpOptions::After::Kill);
    if (options_.after == DumpOptions::After::LeaveStopped) {
      give_back_critical_sections(tasks_);
      freezer.leave_stopped();
      report_.frozen_ns = monotonic_ns() - freezer.began_ns();
    } else if (options_.after == DumpOptions::After::LeaveRunning) {
      give_back_critical_sections(tasks_);
      freezer.let_go();
      report_.frozen_ns = monotonic_ns() - freezer.began_ns();
    } else {
      freezer.kill_all();
      report_.frozen_ns = monotonic_ns() - freezer.began_ns();
      tasks_.clear();
      freezer.wait_until_reaped();
    }
  }

  const DumpOptions& options_;
  const DumpCallbacks& callbacks_;
  DumpReport report_;
  image::Checkpoint header_;
  WriteTracking tracking_;
  std::optional<CheckpointImage> parent_;
  NamespaceTable namespaces_;
  std::unique_ptr<CheckpointWriter> writer_;
  MemoryObjectIds object_ids_;
  uint32_t last_mm_id_ = 0;
  unsigned workers_;
  MapsReader maps_reader_;
  MemoryCopier copier_;
  FileTable files_;
  SharedMemoryTable shared_memory_;
  MappingCollector mappings_;
  DescriptorCollector descriptors_;
  CgroupCollector cgroups_;
  SeccompFilters seccomp_filters_;
  NumaPolicies numa_;
  PrivatePages private_pages_{copier_};
  std::deque<TaskState> tasks_;
};

}  // namespace

DumpReport dump(const DumpOptions& options, const DumpCallbacks& callbacks) {
  return with_context([&] { return fmt::format("dump of process {}", options.pid); },
                      [&] { return Dump(options, callbacks).run(); });
}

}  // namespace godwit
