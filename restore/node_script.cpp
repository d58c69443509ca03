#include "restore/node_script.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "kernel/error.h"
#include "kernel/signal_action.h"
#include "restore/terminals.h"

namespace godwit {

namespace {

using Words = NodeWords;

constexpr int kFirstRealTimeSignal = 32;  // as the kernel counts them

/// Writes the script of one node. Its children's scripts have been written already.
class NodeScript {
 public:
  NodeScript(const ScriptContext& context, int index, const std::vector<uint64_t>& scripts,
             pid_t parent_of_root)
      : context_(context),
        index_(index),
        node_(context.plan.nodes[static_cast<size_t>(index)]),
        scripts_(scripts),
        parent_of_root_(parent_of_root),
        script_(0) {}

  /// Returns the script's address.
  uint64_t write() {
    if (node_.kind == PlannedNode::Kind::Task) {
      for (int i = 1; i < node_.task->threads_size(); ++i) {
        threads_.push_back(write_thread(node_.task->threads(i)));
      }
    }
    script_ = ScriptBuilder(context_.region.next_script());
    about_node();
    emit_birth();
    switch (node_.kind) {
      case PlannedNode::Kind::Task:
        emit_task();
        break;
      case PlannedNode::Kind::Zombie:
        emit_zombie();
        break;
      case PlannedNode::Kind::Helper:
        emit_helper();
        break;
    }
    script_.park(word(index_, &Words::parked), context_.region.events());
    const uint64_t address = script_.base();
    context_.region.append(std::move(script_));
    return address;
  }

 private:
  [[nodiscard]] uint64_t word(int node, uint32_t Words::*member) const {
    return context_.region.word(node, member);
  }
  /// The pid of another node in this one's pid namespace.
  [[nodiscard]] pid_t seen(int other) const { return context_.plan.pid_seen_by(other, index_); }
  [[nodiscard]] const PlannedNode& node(int i) const { return context_.plan.nodes[static_cast<size_t>(i)]; }
  /// For the coordinator.
  void post(uint32_t Words::*member) { script_.post(word(index_, member), context_.region.events()); }
  /// For other nodes alone: the coordinator isn't woken.
  void post_to_nodes(uint32_t Words::*member) { script_.post(word(index_, member), 0); }
  void wait(int node, uint32_t Words::*member, uint32_t at_least = 1) {
    script_.wait(word(node, member), at_least);
  }

  void about_node() {
    const PlannedNode* n = &node_;
    script_.subject([n] {
      return fmt::format("{} {}",
                         n->kind == PlannedNode::Kind::Task     ? "task"
                         : n->kind == PlannedNode::Kind::Zombie ? "zombie"
                                                                : "helper",
                         n->pid);
    });
  }

  /// Until the coordinator has seized it, a node dies with whoever cloned it.
  void emit_birth() {
    script_.call("tie its life to its parent's", SYS_prctl, {PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0});
    const pid_t parent = context_.plan.opens_pid_namespace(index_) ? 0
                         : node_.cloner < 0                        ? parent_of_root_
                                                                   : seen(node_.cloner);
    script_.call_expecting("find its parent alive", parent, SYS_getppid, {});
    if (index_ != 0 && context_.cgroups.moves(index_)) {
      // Before it has memory or children, which then are there from the beginning.
      post(&Words::created);
      wait(index_, &Words::placed);
    } else {
      post_to_nodes(&Words::created);
    }
    if (node_.passers.empty()) {
      emit_adopt_orphans();
    }
    if (has_stopped_children()) {
      // Their stops are made again now, and must not be signalled a second time.
      const KernelSigaction quiet{0, SA_NOCLDSTOP, 0, 0};
      script_.call("set a signal action", SYS_rt_sigaction,
                   {SIGCHLD, script_.object(quiet), 0, sizeof(uint64_t)});
    }
    if (node_.cloner < 0) {
      emit_clear_address_space(script_, context_.layout);
    }
  }

  [[nodiscard]] bool is_stopped_task(int i) const {
    return node(i).kind == PlannedNode::Kind::Task && node(i).task->state() == image::Task::STOPPED;
  }
  [[nodiscard]] bool has_stopped_children() const {
    return std::any_of(node_.wards.begin(), node_.wards.end(),
                       [&](int ward) { return is_stopped_task(ward); });
  }
  [[nodiscard]] bool clones_at(CloneStage stage) const {
    return std::any_of(node_.children.begin(), node_.children.end(),
                       [&](int child) { return node(child).stage == stage; });
  }

  void clone_children(CloneStage stage) {
    for (const int child : node_.children) {
      if (node(child).stage != stage) {
        continue;
      }
      const PlannedNode* c = &node(child);
      script_.subject([c] { return fmt::format("task {}", c->pid); });
      const bool helper = c->kind == PlannedNode::Kind::Helper;
      const uint64_t flags = (context_.plan.opens_pid_namespace(child) ? CLONE_NEWPID : 0) |
                             (c->shares_descriptors ? CLONE_FILES : 0) |
                             (c->shares_filesystem ? CLONE_FS : 0);
      emit_clone("make it (its pid may be taken)", c->pids, flags,
                 helper || c->task == nullptr ? 0 : static_cast<uint64_t>(c->task->exit_signal()),
                 scripts_[static_cast<size_t>(child)]);
    }
    about_node();
  }

  void emit_clone(const char* doing, const std::vector<pid_t>& ids, uint64_t flags, uint64_t exit_signal,
                  uint64_t child_script) {
    clone_args arguments{};
    arguments.flags = flags;
    arguments.exit_signal = exit_signal;
    arguments.stack = context_.region.stack_of(child_script);
    arguments.stack_size = Region::kStackBytes;
    const std::vector<pid_t> wanted = ids_for_clone(ids);
    arguments.set_tid = script_.bytes(std::as_bytes(std::span(wanted)));
    arguments.set_tid_size = wanted.size();
    script_.clone(doing, script_.object(arguments), sizeof arguments, child_script);
  }

  /// As clone3(2) wants them, the innermost first. Where any pid will do outside, none is asked for there.
  static std::vector<pid_t> ids_for_clone(const std::vector<pid_t>& ids) {
    std::vector<pid_t> wanted(ids.rbegin(), ids.rend());
    if (wanted.back() == 0) {
      wanted.pop_back();
    }
    return wanted;
  }

  /// Outside, threads are called as before if their task is.
  [[nodiscard]] std::vector<pid_t> thread_ids(const image::Thread& thread) const {
    std::vector<pid_t> ids = context_.plan.ids(thread.tid());
    if (node_.pids[0] == 0) {
      ids[0] = 0;
    }
    return ids;
  }

  void emit_session_and_clones() {
    clone_children(CloneStage::BeforeSession);
    if (clones_at(CloneStage::BeforeSessionFilled)) {
      emit_laid_out();
      wait(index_, &Words::filled);
      clone_children(CloneStage::BeforeSessionFilled);
    }
    if (node_.leads_session) {
      script_.call("make a session", SYS_setsid, {});
      if (node_.task != nullptr && node_.task->has_terminal()) {
        emit_control_by_terminal(script_, node_.task->terminal());
      }
    } else if (node_.makes_group) {
      script_.call("make a process group", SYS_setpgid, {0, 0});
    }
    post_to_nodes(&Words::group_ready);
    clone_children(CloneStage::AfterSession);
  }

  void emit_laid_out() {
    if (laid_out_) {
      return;
    }
    laid_out_ = true;
    emit_layout(script_, node_, context_.layout);
    about_node();
    if (node_.shares_descriptors) {
      emit_filesystem(script_, *node_.task);
      about_node();
    }
    post(&Words::laid_out);
  }

  /// Joins its process group. All that others wait for has been done before: a leader may be a descendant.
  void emit_join() {
    if (node_.group_leader >= 0 && node_.group_leader != index_) {
      wait(node_.group_leader, &Words::group_ready);
      if (node_.makes_group) {
        // It leaves the group that it leads: not before all others are in it.
        wait_for_members();
      }
      script_.call("join its process group", SYS_setpgid, {0, seen(node_.group_leader)});
    }
    if (has_stopped_children()) {
      post(&Words::joined);  // the coordinator may wait for it before it stops them
    } else {
      post_to_nodes(&Words::joined);
    }
  }

  /// Of a session leader: all process groups of the session will be there in the end.
  void emit_foreground() {
    const pid_t group = node_.task->terminal().foreground_group();
    for (size_t i = 0; i < context_.plan.nodes.size(); ++i) {
      const int leader = static_cast<int>(i);
      const PlannedNode& candidate = node(leader);
      if (group == 0 || leader == index_ ||
          (candidate.task != nullptr ? candidate.task->pid(0) : candidate.pid) != group) {
        continue;
      }
      wait(leader, &Words::group_ready);
      emit_foreground_group(script_, node_.task->terminal(), seen(leader));
    }
  }

  void wait_for_members() {
    for (const int member : node_.members) {
      wait(member, &Words::joined);
    }
  }

  void emit_adopt_orphans() {
    if (node_.scaffold_subreaper) {
      script_.call("adopt orphans", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0});
      post_to_nodes(&Words::adopting);
    }
  }

  /// Zombies, helpers and stopped tasks among its children, until all is quiet.
  void emit_settle_children() {
    if (!node_.passers.empty()) {
      for (const int i : node_.passers) {
        if (node(i).parent == index_) {
          settle_child(i);
        } else {
          wait(i, &Words::ended);
        }
      }
      emit_adopt_orphans();
    }
    for (const int i : node_.wards) {
      if (std::find(node_.passers.begin(), node_.passers.end(), i) == node_.passers.end()) {
        settle_child(i);
      }
    }
    take_back_signals();
  }

  void settle_child(int i) {
    const PlannedNode& child = node(i);
    if (child.cloner != index_) {
      wait(child.cloner, &Words::ended);
    }
    if (child.kind == PlannedNode::Kind::Helper) {
      script_.call("collect a helper", SYS_wait4, {seen(i), 0, __WALL, 0});
      script_.post(word(i, &Words::ended), context_.region.events());
    } else if (child.kind == PlannedNode::Kind::Zombie) {
      script_.call("wait for a zombie", SYS_waitid, {int{P_PID}, seen(i), 0, WEXITED | WNOWAIT | __WALL, 0});
      script_.post(word(i, &Words::ended), context_.region.events());
    } else if (is_stopped_task(i)) {
      wait(i, &Words::stopped);
      if (child.task->stop_reported()) {
        script_.call("collect a stop", SYS_waitid, {int{P_PID}, seen(i), 0, WSTOPPED | WNOHANG | __WALL, 0});
      }
    }
  }

  /// What the ends and stops of its children have sent it: in the source all that was over, or it stands in
  /// the image as a pending signal.
  void take_back_signals() {
    std::map<int, int> expected;  // how often each can be queued
    for (const int i : node_.wards) {
      const PlannedNode& child = node(i);
      if (child.kind == PlannedNode::Kind::Zombie) {
        // The kernel makes orphans tell their ends by SIGCHLD.
        const int signal = child.cloner == index_ ? child.task->exit_signal() : SIGCHLD;
        expected[signal] = signal < kFirstRealTimeSignal ? 1 : expected[signal] + 1;
      } else if (is_stopped_task(i)) {
        expected[SIGCHLD] = 1;
      }
    }
    expected.erase(0);
    for (const auto& [signal, count] : expected) {
      const uint64_t set = script_.object(uint64_t{1} << (signal - 1));
      for (int i = 0; i < count; ++i) {
        script_.call_may_fail_with("take back a child's signal", EAGAIN, SYS_rt_sigtimedwait,
                                   {set, 0, script_.object(timespec{0, 0}), sizeof(uint64_t)});
      }
    }
  }

  /// Whoever shares the table maps its files through it, before it is filled.
  void wait_for_sharers(const PlannedNode& of) {
    for (const int child : of.children) {
      if (node(child).shares_descriptors) {
        wait(child, &Words::laid_out);
        wait_for_sharers(node(child));
      }
    }
  }

  void emit_descriptors() {
    if (node_.shares_descriptors) {
      return;
    }
    wait_for_sharers(node_);
    context_.descriptors.emit_place(script_, *node_.task, context_.layout.files,
                                    context_.layout.shared_memory);
    about_node();
    emit_filesystem(script_, *node_.task);
    about_node();
    script_.call("close what is the coordinator's", SYS_close_range,
                 {context_.first_descriptor, context_.descriptors.last_free_descriptor(), 0});
    // After the last close: closing any descriptor of a file gives up the POSIX locks on it.
    context_.descriptors.emit_finish(script_, *node_.task);
    about_node();
  }

  void emit_task() {
    const image::Task& task = *node_.task;
    emit_session_and_clones();
    emit_laid_out();
    if (clones_at(CloneStage::Filled)) {
      wait(index_, &Words::filled);
      clone_children(CloneStage::Filled);
    }
    emit_descriptors();
    emit_join();
    emit_foreground();
    emit_settle_children();
    wait(index_, &Words::filled);
    emit_finish_layout(script_, node_, context_.layout);
    about_node();
    emit_resource_limits(script_, task, context_.baseline);
    for (size_t i = 0; i < threads_.size(); ++i) {
      emit_clone("make a thread", thread_ids(task.threads(static_cast<int>(i) + 1)),
                 CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, 0,
                 threads_[i]);
    }
    post(&Words::threads_ready);
    wait(index_, &Words::seized);
    if (node_.cloner != node_.parent) {
      script_.call("untie its life from its cloner's", SYS_prctl, {PR_SET_PDEATHSIG, 0, 0, 0, 0});
      post_to_nodes(&Words::guarded);
    }
    context_.descriptors.emit_signals(script_, task);
    about_node();
    emit_signal_actions(script_, task, context_.baseline);
    if (node_.scaffold_subreaper || task.child_subreaper()) {
      script_.call("set whether it adopts orphans", SYS_prctl,
                   {PR_SET_CHILD_SUBREAPER, task.child_subreaper() ? 1 : 0, 0, 0, 0});
    }
    emit_thread_state(script_, task.threads(0));
    emit_timers(script_, task);
    if (!threads_.empty()) {
      wait(index_, &Words::parked, static_cast<uint32_t>(threads_.size()));
    }
    // A change of credentials resets it. 2 can't be asked for: it is what such a change sets.
    if (node_.mm->dumpable() != 2) {
      script_.call("set dumpable", SYS_prctl, {PR_SET_DUMPABLE, node_.mm->dumpable(), 0, 0, 0});
    }
    script_.call("set the parent-death signal", SYS_prctl,
                 {PR_SET_PDEATHSIG, task.threads(0).parent_death_signal(), 0, 0, 0});
    emit_pending_signals(script_, task, task.threads(0), true);
  }

  /// What each thread has for itself, up to its credentials.
  void emit_thread_state(ScriptBuilder& script, const image::Thread& thread) const {
    script.call("set its name", SYS_prctl, {PR_SET_NAME, script.string(thread.comm()), 0, 0, 0});
    if (thread.tid_address() != 0) {
      script.call("set the address cleared at its end", SYS_set_tid_address, {thread.tid_address()});
    }
    if (thread.has_robust_list() && thread.robust_list().head() != 0) {
      script.call("set its robust futex list", SYS_set_robust_list,
                  {thread.robust_list().head(), thread.robust_list().length()});
    }
    if (thread.has_alternate_stack()) {
      const image::AlternateStack& stack = thread.alternate_stack();
      const stack_t kernel{reinterpret_cast<void*>(stack.address()),  // NOLINT: an address in the task
                           static_cast<int>(stack.flags()) & ~SS_ONSTACK, stack.size()};
      script.call("set its alternate signal stack", SYS_sigaltstack, {script.object(kernel), 0});
    }
    if (thread.has_rseq()) {
      script.call(
          "register its rseq area", SYS_rseq,
          {thread.rseq().address(), thread.rseq().size(), thread.rseq().flags(), thread.rseq().signature()});
    }
    if (thread.personality() != 0) {
      script.call("set its personality", SYS_personality, {thread.personality()});
    }
    if (thread.scheduling().timer_slack_ns() != 0) {
      script.call("set its timer slack", SYS_prctl,
                  {PR_SET_TIMERSLACK, thread.scheduling().timer_slack_ns(), 0, 0, 0});
    }
    if (thread.has_seccomp()) {
      emit_seccomp(script, thread.seccomp(), context_.filters);
    }
    emit_credentials(script, thread.credentials(), context_.baseline);
  }

  uint64_t write_thread(const image::Thread& thread) const {
    ScriptBuilder script(context_.region.next_script());
    const image::Thread* t = &thread;
    script.subject([t, pid = node_.pid] { return fmt::format("thread {} of task {}", t->tid(0), pid); });
    script.wait(word(index_, &Words::seized), 1);
    emit_thread_state(script, thread);
    if (thread.parent_death_signal() != 0) {
      script.call("set the parent-death signal", SYS_prctl,
                  {PR_SET_PDEATHSIG, thread.parent_death_signal(), 0, 0, 0});
    }
    emit_pending_signals(script, *node_.task, thread, false);
    script.park(word(index_, &Words::parked), context_.region.events());
    const uint64_t address = script.base();
    context_.region.append(std::move(script));
    return address;
  }

  void emit_zombie() {
    const image::Task& task = *node_.task;
    emit_session_and_clones();
    emit_join();
    emit_settle_children();
    wait_for_adopted();
    script_.call("set its name", SYS_prctl, {PR_SET_NAME, script_.string(task.comm()), 0, 0, 0});
    if (node_.cloner != node_.parent) {
      script_.call("untie its life from its cloner's", SYS_prctl, {PR_SET_PDEATHSIG, 0, 0, 0, 0});
      post_to_nodes(&Words::guarded);
    }
    if (task.has_credentials()) {
      emit_credentials(script_, task.credentials(), context_.baseline);
    }
    post_to_nodes(&Words::leaving);
    const int signal = task.exit_status() & 0x7f;
    if (signal != 0) {
      // No core file for a death that has happened before.
      script_.call("set a resource limit", SYS_prlimit64,
                   {0, int{RLIMIT_CORE}, script_.object(rlimit{0, 0}), 0});
      script_.call("unblock signals", SYS_rt_sigprocmask,
                   {SIG_SETMASK, script_.object(uint64_t{0}), 0, sizeof(uint64_t)});
      if (signal != SIGKILL) {
        script_.call("set a signal action", SYS_rt_sigaction,
                     {signal, script_.object(KernelSigaction{}), 0, sizeof(uint64_t)});
      }
      script_.call("die again", SYS_kill, {node_.pid_inside(), signal});
    }
    script_.call("exit again", SYS_exit_group, {task.exit_status() >> 8 & 0xff});
  }

  void emit_helper() {
    emit_session_and_clones();
    emit_join();
    emit_settle_children();
    wait_for_members();
    wait_for_adopted();
    post_to_nodes(&Words::leaving);
    script_.call("end", SYS_exit_group, {0});
  }

  /// Children that fall to another parent when this node ends.
  void wait_for_adopted() {
    if (node_.adopter >= 0) {
      wait(node_.adopter, &Words::adopting);
    }
    for (const int child : node_.children) {
      if (node(child).parent != index_) {
        wait(child, &Words::guarded);
      }
    }
  }

  const ScriptContext& context_;
  int index_;
  const PlannedNode& node_;
  const std::vector<uint64_t>& scripts_;
  pid_t parent_of_root_;
  ScriptBuilder script_;
  std::vector<uint64_t> threads_;
  bool laid_out_ = false;
};

}  // namespace

uint64_t write_scripts(const ScriptContext& context, bool sibling) {
  std::vector<uint64_t> scripts(context.plan.nodes.size(), 0);
  const pid_t parent_of_root = sibling ? ::getppid() : ::getpid();
  for (size_t i = context.plan.nodes.size(); i-- > 0;) {
    scripts[i] = NodeScript(context, static_cast<int>(i), scripts, parent_of_root).write();
  }
  return scripts[0];
}

size_t write_root_clone(const ScriptContext& context, uint64_t root_script, bool sibling) {
  ScriptBuilder script(context.region.next_script());
  const pid_t pid = context.plan.root().pid;
  script.subject([pid] { return fmt::format("task {}", pid); });
  clone_args arguments{};
  arguments.flags = CLONE_CLEAR_SIGHAND | (sibling ? CLONE_PARENT : 0);
  arguments.exit_signal = sibling ? 0 : SIGCHLD;
  arguments.stack = context.region.stack_of(root_script);
  arguments.stack_size = Region::kStackBytes;
  arguments.set_tid = script.object(pid);
  arguments.set_tid_size = 1;
  script.clone("make it (its pid may be taken)", script.object(arguments), sizeof arguments, root_script);
  return context.region.append(std::move(script));
}

}  // namespace godwit
