#include <sys/resource.h>

#include <climits>
#include <csignal>
#include <cstring>
#include <set>
#include <string>

#include "images-format/validate_index.h"

namespace godwit {

namespace {

constexpr int32_t kMaxPid = 1 << 22;   // PID_MAX_LIMIT
constexpr int kMaxPidLevels = 33;      // MAX_PID_NS_LEVEL, and the initial one
constexpr int kGeneralRegisters = 27;  // struct user_regs_struct
constexpr size_t kSiginfoBytes = 128;
constexpr size_t kMaxComm = 15;
constexpr int kSignals = 64;
constexpr int kMaxGroups = 65536;  // NGROUPS_MAX
constexpr size_t kMaxAffinityBytes = 8192 / 8;
constexpr uint32_t kMaxPolicy = 7;         // SCHED_EXT
constexpr uint64_t kRobustListBytes = 24;  // struct robust_list_head
constexpr uint32_t kMaxRseqBytes = 4096;
constexpr size_t kMaxFilterBytes = 4096 * 8;  // BPF_MAXINSNS

bool is_signal(int64_t signal) {
  return signal >= 1 && signal <= kSignals;
}

bool is_signal_or_none(int64_t signal) {
  return signal == 0 || is_signal(signal);
}

void validate_ids(const google::protobuf::RepeatedField<int32_t>& ids, const char* what) {
  require(!ids.empty() && ids.size() <= kMaxPidLevels, "{} has {} levels", what, ids.size());
  for (const int32_t id : ids) {
    require(id > 0 && id <= kMaxPid, "{} {} is impossible", what, id);
  }
}

void validate_pending(const google::protobuf::RepeatedPtrField<image::SignalInfo>& pending) {
  for (const image::SignalInfo& info : pending) {
    require(info.siginfo().size() == kSiginfoBytes, "a pending signal has {} bytes", info.siginfo().size());
    int signal = 0;
    std::memcpy(&signal, info.siginfo().data(), sizeof(signal));
    require(is_signal(signal), "a pending signal has the number {}", signal);
  }
}

/// The header of an xsave area: the CPU refuses unknown components, the kernel a compacted area.
void validate_xsave(const std::string& xsave, const image::Checkpoint& header) {
  require(xsave.size() == header.xsave_size(), "its xsave area has {} bytes, not {}", xsave.size(),
          header.xsave_size());
  uint64_t fields[8];
  std::memcpy(fields, xsave.data() + 512, sizeof(fields));
  require((fields[0] & ~header.xsave_features()) == 0,
          "its xsave area has the components {:#x}, the header {:#x}", fields[0], header.xsave_features());
  for (size_t i = 1; i < std::size(fields); ++i) {
    require(fields[i] == 0, "its xsave area is compacted or has reserved bits set");
  }
}

void validate_seccomp(const image::Seccomp& seccomp, const ValidationIndex& index) {
  require(image::Seccomp::Mode_IsValid(seccomp.mode()), "seccomp mode {} is unknown",
          static_cast<int>(seccomp.mode()));
  require((seccomp.mode() == image::Seccomp::FILTER) == (seccomp.filter_ids_size() > 0),
          "seccomp mode {} with {} filters", static_cast<int>(seccomp.mode()), seccomp.filter_ids_size());
  for (const uint32_t id : seccomp.filter_ids()) {
    require(index.seccomp_filters.contains(id), "seccomp filter {} isn't there", id);
  }
}

void validate_scheduling(const image::Scheduling& scheduling) {
  require(scheduling.policy() <= kMaxPolicy, "scheduling policy {} is unknown", scheduling.policy());
  require(scheduling.nice() >= -20 && scheduling.nice() <= 19, "nice {}", scheduling.nice());
  require(scheduling.priority() <= 99, "priority {}", scheduling.priority());
  require(scheduling.affinity().size() <= kMaxAffinityBytes, "an affinity mask of {} bytes",
          scheduling.affinity().size());
}

void validate_thread(const image::Thread& thread, const ValidationIndex& index) {
  require(thread.registers().general_size() == kGeneralRegisters, "it has {} general registers, not {}",
          thread.registers().general_size(), kGeneralRegisters);
  validate_xsave(thread.registers().xsave(), *index.header);
  validate_pending(thread.pending_signals());
  validate_seccomp(thread.seccomp(), index);
  validate_scheduling(thread.scheduling());
  require(thread.has_credentials(), "it has no credentials");
  require(thread.credentials().groups_size() <= kMaxGroups, "it is in {} groups",
          thread.credentials().groups_size());
  require(thread.comm().size() <= kMaxComm, "its name has {} bytes", thread.comm().size());
  require(is_signal_or_none(thread.parent_death_signal()), "parent-death signal {}",
          thread.parent_death_signal());
  if (thread.robust_list().head() != 0) {
    require(thread.robust_list().length() == kRobustListBytes, "its robust list head has {} bytes",
            thread.robust_list().length());
  }
  require(thread.rseq().size() <= kMaxRseqBytes, "its rseq area has {} bytes", thread.rseq().size());
}

void validate_threads(const image::Task& task, const ValidationIndex& index, std::set<int32_t>& tids) {
  require(task.threads_size() > 0, "it has no threads");
  bool leader = true;
  for (const image::Thread& thread : task.threads()) {
    validate_ids(thread.tid(), "a thread id");
    with_context([&] { return fmt::format("thread {}", thread.tid(0)); },
                 [&] {
                   require(thread.tid_size() == task.pid_size(), "it is in {} pid namespaces, its task in {}",
                           thread.tid_size(), task.pid_size());
                   require(!leader || thread.tid(0) == task.pid(0),
                           "the first thread isn't the task's leader");
                   require(tids.insert(thread.tid(0)).second, "it is there twice");
                   require(leader || !index.tasks.contains(thread.tid(0)), "there is a task of this number");
                   validate_thread(thread, index);
                 });
    leader = false;
  }
}

void validate_actions(const image::SignalActions& actions) {
  std::set<uint32_t> seen;
  for (const image::SignalAction& action : actions.action()) {
    require(is_signal(action.signal()) && action.signal() != SIGKILL && action.signal() != SIGSTOP &&
                seen.insert(action.signal()).second,
            "an action for signal {}", action.signal());
  }
}

void validate_timers(const image::Task& task) {
  std::set<uint32_t> intervals;
  for (const image::IntervalTimer& timer : task.interval_timers()) {
    require(timer.which() <= 2 && intervals.insert(timer.which()).second, "interval timer {}", timer.which());
  }
  std::set<int32_t> ids;
  for (const image::PosixTimer& timer : task.posix_timers()) {
    with_context([&] { return fmt::format("timer {}", timer.id()); },
                 [&] {
                   require(timer.id() >= 0 && ids.insert(timer.id()).second,
                           "it is there twice, or impossible");
                   require(is_signal_or_none(timer.signal()), "signal {}", timer.signal());
                   if (timer.notify() != SIGEV_THREAD_ID) {
                     require(timer.notify() >= SIGEV_SIGNAL && timer.notify() <= SIGEV_THREAD,
                             "notification {}", timer.notify());
                     return;
                   }
                   for (const image::Thread& thread : task.threads()) {
                     if (thread.tid(0) == timer.thread()) {
                       return;
                     }
                   }
                   throw damaged("it signals thread {}, which isn't of this task", timer.thread());
                 });
  }
}

void validate_limits(const image::Task& task) {
  std::set<uint32_t> seen;
  for (const image::ResourceLimit& limit : task.resource_limits()) {
    require(limit.resource() < RLIM_NLIMITS && seen.insert(limit.resource()).second, "resource limit {}",
            limit.resource());
    require(limit.soft() <= limit.hard(), "resource limit {}: {} is above {}", limit.resource(), limit.soft(),
            limit.hard());
  }
  require(task.oom_score_adj() >= -1000 && task.oom_score_adj() <= 1000, "oom_score_adj {}",
          task.oom_score_adj());
}

void validate_zombie(const image::Task& task) {
  require(task.threads_size() == 0 && task.mm_id() == 0 && task.descriptor_table_id() == 0,
          "it is a zombie, but has threads, memory or descriptors");
  require(task.exit_status() >= 0 && task.exit_status() <= 0xffff, "exit status {:#x}", task.exit_status());
  require(task.comm().size() <= kMaxComm, "its name has {} bytes", task.comm().size());
  require(task.parent() != 0, "the root of the tree is a zombie");
}

void validate_task(const image::Task& task, const ValidationIndex& index, std::set<int32_t>& tids) {
  validate_ids(task.pid(), "its pid");
  require(image::Task::State_IsValid(task.state()), "its state {} is unknown",
          static_cast<int>(task.state()));
  require(is_signal_or_none(task.exit_signal()) && is_signal_or_none(task.stop_signal()),
          "exit signal {}, stop signal {}", task.exit_signal(), task.stop_signal());
  validate_pending(task.pending_signals());
  if (task.state() == image::Task::ZOMBIE) {
    require(tids.insert(task.pid(0)).second, "it is there twice");
    validate_zombie(task);
    return;
  }
  require(index.mms.contains(task.mm_id()), "mm {} isn't there", task.mm_id());
  require(index.descriptor_tables.contains(task.descriptor_table_id()), "descriptor table {} isn't there",
          task.descriptor_table_id());
  require_path(task.filesystem().cwd(), "its working directory");
  require_path(task.filesystem().root(), "its root directory");
  require(task.filesystem().umask() <= 0777, "umask {:o}", task.filesystem().umask());
  validate_threads(task, index, tids);
  validate_actions(task.signal_actions());
  validate_timers(task);
  validate_limits(task);
}

/// Every parent is there, alive, and leads to the one root.
void validate_tree(const ValidationIndex& index) {
  require(index.tasks.contains(index.header->root_pid()), "the root task {} isn't there",
          index.header->root_pid());
  std::set<int32_t> reach_root;
  for (const auto& [pid, task] : index.tasks) {
    std::set<int32_t> path;
    const image::Task* at = task;
    while (at->pid(0) != index.header->root_pid() && !reach_root.contains(at->pid(0))) {
      require(path.insert(at->pid(0)).second, "task {} is among its own ancestors", at->pid(0));
      const auto parent = index.tasks.find(at->parent());
      require(parent != index.tasks.end(), "task {}: its parent {} isn't there", at->pid(0), at->parent());
      require(parent->second->state() != image::Task::ZOMBIE, "task {}: its parent {} is a zombie",
              at->pid(0), at->parent());
      at = parent->second;
    }
    reach_root.insert(path.begin(), path.end());
  }
  require(index.tasks.at(index.header->root_pid())->parent() == 0,
          "task {}: the root has a parent in the tree", index.header->root_pid());
}

/// A session's leader can't leave it, and a process group lies within one session: see setsid(2), setpgid(2).
void validate_sessions(const ValidationIndex& index, const std::set<int32_t>& tids) {
  std::map<int32_t, int32_t> session_of_group;
  for (const auto& [pid, task] : index.tasks) {
    require(!task->has_terminal() || (task->session() == pid && task->terminal().path().starts_with('/') &&
                                      task->terminal().path().size() < PATH_MAX),
            "task {}: its terminal has no path, or it leads no session", pid);
    for (const int32_t number : {task->session(), task->process_group()}) {
      require(number >= 0 && number <= kMaxPid, "task {}: session or process group {}", pid, number);
      require(!tids.contains(number) || index.tasks.contains(number),
              "task {}: its session or process group {} is the number of a thread", pid, number);
    }
    const auto leader = index.tasks.find(task->session());
    require(leader == index.tasks.end() || leader->second->session() == task->session(),
            "task {}: the leader of its session {} is in another session", pid, task->session());
    const auto [group, added] = session_of_group.emplace(task->process_group(), task->session());
    require(added || task->process_group() == 0 || group->second == task->session(),
            "task {}: its process group {} is in two sessions", pid, task->process_group());
  }
}

/// Tasks that share what CLONE_FS shares agree on it.
void validate_filesystems(const ValidationIndex& index) {
  std::map<uint32_t, const image::Task*> first;
  for (const auto& [pid, task] : index.tasks) {
    if (task->state() == image::Task::ZOMBIE) {
      continue;
    }
    const image::Filesystem& mine = task->filesystem();
    const image::Filesystem& other = first.emplace(task->filesystem_id(), task).first->second->filesystem();
    require(mine.cwd() == other.cwd() && mine.root() == other.root() && mine.umask() == other.umask(),
            "task {}: it shares directories and umask {} with a task that has others", pid,
            task->filesystem_id());
  }
}

}  // namespace

void validate_tasks(const std::vector<Record>& records, const ValidationIndex& index) {
  for_each_record<image::SeccompFilter>(records, [](const image::SeccompFilter& filter) {
    require(!filter.instructions().empty() && filter.instructions().size() <= kMaxFilterBytes &&
                filter.instructions().size() % 8 == 0,
            "seccomp filter {}: {} bytes of instructions", filter.id(), filter.instructions().size());
  });
  std::set<int32_t> tids;
  for (const auto& [pid, task] : index.tasks) {
    with_context([id = pid] { return fmt::format("task {}", id); },
                 [&, t = task] { validate_task(*t, index, tids); });
  }
  validate_tree(index);
  validate_sessions(index, tids);
  validate_filesystems(index);
}

}  // namespace godwit
