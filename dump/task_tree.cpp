#include "dump/task_tree.h"

#include <csignal>
#include <unordered_map>

#include "dump/collectors.h"
#include "dump/sharing.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// Everything that has to be seen in the context of the whole tree.
class TreeCollector {
 public:
  TreeCollector(const Freezer& freezer, const TreeOptions& options, NamespaceTable& namespaces)
      : options_(options), namespaces_(namespaces) {
    for (const FrozenTask& frozen : freezer.tasks()) {
      TaskState& task = tasks_.emplace_back();
      task.frozen = &frozen;
      task.parent = frozen.parent == 0 ? nullptr : by_pid_.at(frozen.parent);
      by_pid_.emplace(frozen.pid(), &task);
    }
  }

  std::deque<TaskState> collect() && {
    for (TaskState& task : tasks_) {
      with_context([&] { return fmt::format("task {}", task.pid()); }, [&] { collect(task); });
    }
    return std::move(tasks_);
  }

 private:
  void collect(TaskState& task) {
    const FrozenTask& frozen = *task.frozen;
    image::Task& record = task.record;
    record.set_parent(frozen.parent);
    record.set_exit_signal(frozen.stat.exit_signal);
    set_session_and_group(task);
    if (frozen.zombie()) {
      record.set_state(image::Task::ZOMBIE);
      record.set_exit_status(frozen.stat.exit_code);
      record.set_comm(frozen.stat.comm);
      const procfs::Status status = procfs::read_status(task.pid(), task.pid());
      record.mutable_pid()->Assign(status.namespace_pids.begin(), status.namespace_pids.end());
      set_numbers_inside(status, record);
      collect_credentials(status, *record.mutable_credentials());
      return;
    }
    if (frozen.stop_signal != 0) {
      record.set_state(image::Task::STOPPED);
      record.set_stop_signal(frozen.stop_signal);
    }
    collect_threads(task);
    refuse_shared_memory_tasks(task);
    record.set_filesystem_id(filesystem_id(task.pid()));
    collect_filesystem(task.pid(), task.threads.front().status, *record.mutable_filesystem());
  }

  void collect_threads(TaskState& task) {
    const FrozenTask& frozen = *task.frozen;
    for (const pid_t tid : frozen.threads) {
      ThreadState& thread = task.threads.emplace_back();
      thread.tid = tid;
      thread.record = task.record.add_threads();
      const bool leader = tid == task.pid();
      thread.record->set_comm(leader ? frozen.stat.comm : procfs::read_stat(task.pid(), tid).comm);
      thread.status = procfs::read_status(task.pid(), tid);
      thread.record->mutable_tid()->Assign(thread.status.namespace_pids.begin(),
                                           thread.status.namespace_pids.end());
      check_thread(thread);
      namespaces_.add(task, thread);
      if (leader) {
        continue;
      }
      if (compare(Shared::DescriptorTable, task.pid(), tid) != 0) {
        throw refusal("thread {} with a descriptor table of its own", tid);
      } else if (compare(Shared::Filesystem, task.pid(), tid) != 0) {
        throw refusal("thread {} with a working directory of its own", tid);
      }
    }
    task.record.mutable_pid()->CopyFrom(task.threads.front().record->tid());
    set_numbers_inside(task.threads.front().status, task.record);
  }

  /// What session and group are called in the task's own pid namespace, where that isn't the dumper's.
  static void set_numbers_inside(const procfs::Status& status, image::Task& record) {
    if (status.namespace_pids.size() > 1) {
      record.mutable_session_inside()->Assign(status.namespace_sessions.begin(),
                                              status.namespace_sessions.end());
      record.mutable_group_inside()->Assign(status.namespace_groups.begin(), status.namespace_groups.end());
    }
  }

  void check_thread(const ThreadState& thread) const {
    if (thread.status.shadow_stack) {
      throw refusal("thread {} (shadow stack)", thread.tid);
    }
    refuse_visible_injection(thread, options_.seccomp_suspended);
  }

  void refuse_shared_memory_tasks(const TaskState& task) {
    if (const pid_t other = address_spaces_.first(task.pid()); other != task.pid()) {
      throw refusal("memory shared with task {} (CLONE_VM)", other);
    }
  }

  uint32_t filesystem_id(pid_t pid) {
    const auto next = static_cast<uint32_t>(filesystem_ids_.size() + 1);
    return filesystem_ids_.emplace(filesystems_.first(pid), next).first->second;
  }

  /// Nobody in the tree, but somebody there is.
  [[nodiscard]] bool lives_outside(pid_t pid) const {
    return pid == 0 || (!by_pid_.contains(pid) && (::kill(pid, 0) == 0 || errno == EPERM));
  }

  void set_session_and_group(TaskState& task) const {
    const procfs::Stat& stat = task.frozen->stat;
    const bool session_inside = by_pid_.contains(stat.session);
    if (!session_inside && !options_.shell_job && lives_outside(stat.session)) {
      throw error("its session {} is led from outside the tree", stat.session)
          .hint("--shell-job takes session and terminal from whoever restores");
    }
    const bool foreign_session = !session_inside && options_.shell_job;
    task.record.set_session(foreign_session ? 0 : stat.session);
    const bool group_inside = by_pid_.contains(stat.process_group);
    if (!group_inside && !foreign_session && lives_outside(stat.process_group)) {
      throw refusal("a process group ({}) that is led from outside the tree", stat.process_group);
    }
    task.record.set_process_group(!group_inside && foreign_session ? 0 : stat.process_group);
  }

  const TreeOptions& options_;
  NamespaceTable& namespaces_;
  std::deque<TaskState> tasks_;
  std::unordered_map<pid_t, TaskState*> by_pid_;
  Sharers address_spaces_{Shared::AddressSpace};
  Sharers filesystems_{Shared::Filesystem};
  std::unordered_map<pid_t, uint32_t> filesystem_ids_;
};

}  // namespace

void refuse_visible_injection(const ThreadState& thread, bool seccomp_suspended) {
  if (thread.status.seccomp_mode != 0 && !seccomp_suspended) {
    throw error("thread {} has a seccomp filter, which would see injected system calls", thread.tid)
        .hint("CAP_SYS_ADMIN is needed to suspend it");
  }
}

std::deque<TaskState> collect_task_tree(const Freezer& freezer, const TreeOptions& options,
                                        NamespaceTable& namespaces) {
  return TreeCollector(freezer, options, namespaces).collect();
}

}  // namespace godwit
