#include "restore/restore.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <thread>

#include "images-format/memory.pb.h"
#include "images-format/parent.h"
#include "images-format/shared_memory.pb.h"
#include "kernel/blocked_signals.h"
#include "kernel/cancel.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "plan/plan.h"
#include "restore/cgroup_tree.h"
#include "restore/copied_pages.h"
#include "restore/descriptors.h"
#include "restore/first_clone.h"
#include "restore/machine.h"
#include "restore/memory.h"
#include "restore/namespace.h"
#include "restore/net_outside.h"
#include "restore/node_script.h"
#include "restore/pids_now.h"
#include "restore/pids_taken.h"
#include "restore/region.h"
#include "restore/shared_memory.h"
#include "restore/tcp.h"
#include "restore/terminals.h"
#include "restore/time_namespace.h"
#include "restore/tracees.h"

namespace godwit {

namespace {

/// While the tree is built, orphans of a half-made one fall to this process, which ends them.
class Subreaper {
 public:
  Subreaper() {
    ::prctl(PR_GET_CHILD_SUBREAPER, &before_);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, before_); }
  Subreaper(const Subreaper&) = delete;
  Subreaper& operator=(const Subreaper&) = delete;

 private:
  int before_ = 0;
};

/// Of all pages that will be read.
uint64_t content_bytes(const RunsByObject& runs_of_objects) {
  uint64_t bytes = 0;
  for (const auto& [id, runs] : runs_of_objects) {
    for (const PageRun& run : runs) {
      bytes += run.kind == image::PAGE_PRESENT ? run.count * kPageSize : 0;
    }
  }
  return bytes;
}

/// Ends a child or tracee of ours, and waits until it has gone; does nothing where there is none of that
/// number.
void reap(pid_t pid) {
  int status = 0;
  for (pid_t found = ::waitpid(pid, &status, __WALL | WNOHANG); found >= 0;
       found = ::waitpid(pid, &status, __WALL)) {
    if (found != 0 && !WIFSTOPPED(status)) {
      return;
    }
    ::kill(pid, SIGKILL);
  }
}

unsigned worker_count(const RestoreOptions& options, uint64_t bytes) {
  constexpr uint64_t kWorthThreads = 8 << 20;
  if (bytes < kWorthThreads) {
    return 0;
  }
  return options.workers != 0 ? options.workers : std::max(1U, std::thread::hardware_concurrency());
}

class Restore {
 public:
  Restore(const CheckpointImage& image, const RestoreOptions& options, const RestoreCallbacks& callbacks)
      : image_(image),
        options_(options),
        callbacks_(callbacks),
        baseline_(Baseline::of_this_process()),
        plan_(make_plan(tree_records(image), is_free)),
        clocks_(clocks_of_another_boot(image.header(), plan_)),
        descriptors_(image, descriptor_limit()),
        vdso_(image.header()),
        shared_memory_(image, descriptors_.first_free_descriptor()),
        terminals_(image),
        region_(plan_, vdso_.bytes()),
        cgroup_tree_(image, plan_, options.cgroup_mode, options.cgroups),
        nodes_(plan_.nodes.size()) {
    for (const auto* object : image.all<image::MemoryObject>()) {
      objects_[object->id()] = object;
      runs_[object->id()] = runs_with_parents(image, *object);
    }
    for (const auto* filter : image.all<image::SeccompFilter>()) {
      filters_[filter->id()] = filter;
    }
    if (clocks_) {
      plan_.root_namespaces.push_back(&*clocks_);
    } else if (plan_.root_namespace("time") == nullptr && !is_same_boot(image.header())) {
      descriptors_.forget_clocks();
    }
  }

  pid_t run() {
    if (terminals_.any_used() && !callbacks_.terminal) {
      throw error("a terminal of the tree has lost its other end")
          .hint("restore it through the runtime that it was dumped through");
    }
    external_ = open_external_namespaces(plan_, options_.external);
    OuterEnds::check(plan_, options_.external);
    if (callbacks_.planned) {
      callbacks_.planned();  // whoever dumps may end the tree now
    }
    // Before anything is made that others can see, such as the name of a socket.
    check_pids_are_free(plan_);
    cgroup_tree_.make();
    if (plan_.root_namespaces.empty()) {
      cgroup_tree_.enable_controllers();
    }
    cgroups_.emplace(cgroup_tree_.entry());
    if (!plan_.root_namespaces.empty()) {
      make_first_process();
    }
    std::optional<ScriptContext> context;
    const uint64_t root_script = prepare(context);
    const Subreaper subreaper;
    size_t clone_root = 0;
    if (!first_) {
      clone_root = write_root_clone(*context, root_script, options_.sibling);
    }
    region_.map(first_ ? Region::Sharing::ByDescriptor : Region::Sharing::ByInheritance);
    try {
      if (first_) {
        first_->become(region_, root_script);
      } else {
        const BlockedSignals blocked;
        const FirstClone alone;
        region_.run(clone_root);
      }
      region_.check();
      root_cloned_ = true;
      cgroups_->leave();
      if (callbacks_.created) {
        callbacks_.created(plan_.root().pid);
      }
      build();
    } catch (...) {
      cgroup_tree_.resume();
      kill_all();
      descriptors_.note_bound_names();
      throw;
    }
    descriptors_.keep_bound_names();
    cgroups_->keep();
    cgroup_tree_.keep();
    outer_ends_.release();
    if (first_) {
      first_->release();
    }
    connections_->release();
    descriptors_.enliven();
    let_go(tasks());
    return plan_.root().pid;
  }

 private:
  /// Makes what tasks inherit, and writes the scripts by which they make the rest. All of that looks at files
  /// and sockets from where the tree will be. Returns the root's script.
  uint64_t prepare(std::optional<ScriptContext>& context) {
    // Before our own /proc may be out of sight.
    const int next = descriptors_.open_external(options_.external, shared_memory_.next_descriptor());
    std::optional<InsideTheTree> inside;
    Fd own_descriptors;
    if (first_) {
      own_descriptors = open_file("/proc/self/fd", O_PATH | O_DIRECTORY);
      inside.emplace(plan_, *first_);
      descriptors_.start_names_from(inside->take_root());
    }
    files_.emplace(image_, next);
    connections_.emplace(image_, options_);
    descriptors_.make_shared(*files_, shared_memory_.descriptors(), files_->next_descriptor(),
                             own_descriptors.get());
    context.emplace(ScriptContext{plan_,
                                  region_,
                                  {plan_, runs_, *files_, shared_memory_.descriptors(), vdso_, region_},
                                  descriptors_,
                                  cgroup_tree_,
                                  baseline_,
                                  filters_,
                                  descriptors_.first_free_descriptor()});
    return write_scripts(*context, options_.sibling);
  }

  void make_first_process() {
    FirstProcess::Making making;
    making.namespaces = namespaces_to_clone(plan_);
    making.pids.assign(plan_.root().pids.rbegin(), plan_.root().pids.rend());
    if (making.pids.back() == 0) {
      making.pids.pop_back();
    }
    making.sibling = options_.sibling;
    making.from_outside = [this](pid_t pid) { outer_ends_.make(plan_, options_.external, pid); };
    making.inside = [&] {
      join_external_namespaces(external_);
      furnish_namespaces(plan_);
      furnish_mounts(plan_, image_,
                     {.root = options_.root, .external = options_.external, .terminals = &terminals_});
    };
    descriptors_.reserve_table();
    first_.emplace(making);
    external_.clear();
    pids_.learn(plan_, 0, first_->pid());
    if (cgroup_tree_.moves(0)) {
      cgroup_tree_.move(0, first_->pid());
      cgroups_->leave();  // a cgroup whose controllers are handed down has no processes
    }
    cgroup_tree_.enable_controllers();
  }

  struct NodeState {
    bool placed = false;
    bool filling = false;
    bool seized = false;
    bool home = false;
  };

  void build() {
    const uint64_t total = content_bytes(runs_);
    std::atomic<size_t> regions_left = 0;
    MemoryFiller filler(image_, worker_count(options_, total));
    for (const auto* memory : image_.all<image::SharedMemory>()) {
      ++regions_left;
      filler.add_file(shared_memory_.descriptors().at(memory->id()), *objects_.at(memory->memory_object()),
                      [&] {
                        --regions_left;
                        region_.bump_events();
                      });
    }
    uint32_t seen = 0;
    while (!all_parked() || regions_left != 0) {
      const uint32_t events = region_.wait_events(seen);
      if (events == seen) {
        check_alive();
      }
      seen = events;
      check_cancelled();
      region_.check();
      try {
        filler.check();
        advance(filler);
      } catch (const Error&) {
        region_.check();  // a task whose script has failed takes its memory with it
        throw;
      }
      report("memory", filler.bytes(), total);
    }
    shared_memory_.finish(image_);
    {
      const BlockedSignals blocked;
      const auto pid_now = [this](pid_t in_image) { return pids_.now(plan_, in_image); };
      descriptors_.fill(pid_now);  // while nobody is signalled about it
      descriptors_.conclude(*files_, pid_now);
    }
    std::vector<const image::Task*> away;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (plan_.nodes[i].kind == PlannedNode::Kind::Task && !nodes_[i].home) {
        away.push_back(plan_.nodes[i].now);
      }
    }
    bring_home(away, region_);
    for (const image::Task* task : tasks()) {
      for (const auto& thread : task->threads()) {
        apply_scheduling(thread.tid(0), thread.scheduling(), baseline_);
      }
      apply_oom_and_core(*task, baseline_);
      set_signal_masks(*task);
    }
    cgroup_tree_.finish(plan_);
    report("resume", total, total);
    check_cancelled();
    if (callbacks_.terminal) {
      terminals_.hand_over(callbacks_.terminal);
    } else if (!terminals_.empty()) {
      log::warning("nobody holds the other end of a terminal that is only mounted: opening it fails");
    }
    outer_ends_.bring_up();
    if (options_.cgroup_mode == CgroupMode::Ignore) {
      warn_about_cgroups(image_, plan_.root().pid);
    }
    if (callbacks_.barrier) {
      callbacks_.barrier(plan_.root().pid);
    }
    cgroup_tree_.pause();
  }

  [[nodiscard]] std::vector<const image::Task*> tasks() const {
    std::vector<const image::Task*> found;
    for (const PlannedNode& node : plan_.nodes) {
      if (node.kind == PlannedNode::Kind::Task) {
        found.push_back(node.now);
      }
    }
    return found;
  }

  /// Does for each node what it waits for.
  void advance(MemoryFiller& filler) {
    for (size_t n = 0; n < nodes_.size(); ++n) {
      const int i = static_cast<int>(n);
      const PlannedNode& node = plan_.nodes[n];
      if (node.kind != PlannedNode::Kind::Task) {
        continue;
      }
      NodeState& state = nodes_[n];
      if (!state.placed && i != 0 && cgroup_tree_.moves(i) && region_.read(i, &NodeWords::created) != 0) {
        state.placed = true;
        pids_.learn(plan_, i);
        cgroup_tree_.move(i, node.pid);
        region_.post(i, &NodeWords::placed);
      }
      if (!state.filling && region_.read(i, &NodeWords::laid_out) != 0) {
        state.filling = true;
        pids_.learn(plan_, i);
        fill(filler, i);
      }
      // A task of one thread has all its threads as soon as it has its memory.
      const bool has_threads =
          node.task->threads_size() == 1 ? state.filling : region_.read(i, &NodeWords::threads_ready) != 0;
      if (!state.seized && has_threads) {
        pids_.learn_threads(plan_, i);
        cgroup_tree_.move_threads(node);
        seize_task(*node.now);
        state.seized = true;
        region_.post(i, &NodeWords::seized);
      }
      if (node.task->state() == image::Task::STOPPED && !state.home && parked(n) && may_stop(i)) {
        // Its parent must see the stop while it still ignores it.
        bring_home({node.now}, region_);
        stop_task(*node.now, stop_signal(i));
        state.home = true;
        region_.post(i, &NodeWords::stopped);
      }
    }
  }

  /// The signal that stopped it in the source, where that would stop it again.
  [[nodiscard]] int stop_signal(int i) const {
    const image::Task& task = *plan_.nodes[static_cast<size_t>(i)].task;
    const int signal = task.stop_signal();
    const bool from_terminal = signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    const auto& actions = task.signal_actions().action();
    const bool handled = std::any_of(actions.begin(), actions.end(), [&](const image::SignalAction& action) {
      return action.signal() == static_cast<uint32_t>(signal) && action.handler() != 0;
    });
    return from_terminal && !handled && member_that_is_watched(plan_, i) >= 0 ? signal : SIGSTOP;
  }

  /// A terminal's stop signal works only once the task's group is seen not to be orphaned.
  [[nodiscard]] bool may_stop(int i) const {
    if (stop_signal(i) == SIGSTOP) {
      return true;
    }
    const int member = member_that_is_watched(plan_, i);
    const int parent = plan_.nodes[static_cast<size_t>(member)].parent;
    return region_.read(member, &NodeWords::joined) != 0 &&
           (parent < 0 || region_.read(parent, &NodeWords::joined) != 0);
  }

  void fill(MemoryFiller& filler, int i) {
    const PlannedNode& node = plan_.nodes[static_cast<size_t>(i)];
    const image::MemoryObject& object = *objects_.at(node.mm->memory_object());
    PagesToCopy copies;
    if (node.copies_pages) {
      copies = pages_to_copy(plan_, i, runs_);
    }
    for (const PageRun& run : runs_.at(node.mm->memory_object())) {
      if (run.kind == image::PAGE_ZERO) {
        copies.zeros.push_back({run.first, run.first + run.count});
      }
    }
    std::vector<MemoryFiller::Borrowed> borrowed;
    for (auto& [id, pages] : copies.by_object) {
      borrowed.push_back({objects_.at(id), std::move(pages)});
    }
    filler.add_process(node.pid, object, zeros_to_write(node, copies.zeros), borrowed,
                       [this, i] { region_.post(i, &NodeWords::filled); });
  }

  /// Pages that must be written though they are zero: those of a file would show through. (In anonymous
  /// memory what a parent has there is dropped.)
  std::vector<MemoryFiller::ZeroRange> zeros_to_write(const PlannedNode& node,
                                                      const std::vector<PageNumbers>& zeros) {
    std::vector<MemoryFiller::ZeroRange> ranges;
    for (const PageNumbers& range : zeros) {
      for (const auto& mapping : node.mm->mappings()) {
        const uint64_t start = std::max(mapping.start(), range.first * kPageSize);
        const uint64_t end = std::min(mapping.end(), range.end * kPageSize);
        if (start < end && !mapping.shared() && mapping.backing() != image::Mapping::ANONYMOUS) {
          ranges.push_back({start, end});
          zeros_ += end - start;
        }
      }
    }
    // Zeros cost nothing in an image, so that its own size says nothing about how many there are.
    struct sysinfo machine {};
    if (!ranges.empty() && ::sysinfo(&machine) == 0 &&
        zeros_ > (machine.totalram + machine.totalswap) * machine.mem_unit) {
      throw Error(fmt::format("task {}: {} bytes of zeros over mapped files", node.pid, zeros_), ENOMEM,
                  "this machine's memory is smaller");
    }
    return ranges;
  }

  [[nodiscard]] bool parked(size_t n) const {
    return region_.read(static_cast<int>(n), &NodeWords::parked) ==
           static_cast<uint32_t>(plan_.nodes[n].task->threads_size());
  }

  [[nodiscard]] bool all_parked() const {
    for (size_t n = 0; n < nodes_.size(); ++n) {
      const PlannedNode& node = plan_.nodes[n];
      const bool there = node.kind == PlannedNode::Kind::Task
                             ? parked(n) && (node.task->state() != image::Task::STOPPED || nodes_[n].home)
                             : has_ended(n);
      if (!there) {
        return false;
      }
    }
    return true;
  }

  /// Of a zombie or helper: it has ended by itself.
  [[nodiscard]] bool has_ended(size_t n) const {
    const int i = static_cast<int>(n);
    if (region_.read(i, &NodeWords::ended) == 0) {
      return false;
    }
    if (region_.read(i, &NodeWords::leaving) == 0) {
      throw died(n);
    }
    return true;
  }

  [[nodiscard]] Error died(size_t n) const {
    region_.check();
    const PlannedNode& node = plan_.nodes[n];
    return error("{} {} died while it was being restored",
                 node.kind == PlannedNode::Kind::Task     ? "task"
                 : node.kind == PlannedNode::Kind::Zombie ? "zombie"
                                                          : "helper",
                 node.pid);
  }

  /// A node that died posts nothing, perhaps not even that it exists.
  void check_alive() const {
    for (size_t n = 0; n < nodes_.size(); ++n) {
      const PlannedNode& node = plan_.nodes[n];
      const int i = static_cast<int>(n);
      const bool dead = region_.read(i, &NodeWords::ended) != 0 || is_dead(n);
      if (dead && (node.kind == PlannedNode::Kind::Task || region_.read(i, &NodeWords::leaving) == 0)) {
        throw died(n);
      }
    }
  }

  /// Before it has said that it exists, whoever has its number is that node only if its cloner is its parent.
  [[nodiscard]] bool is_dead(size_t n) const {
    if (!pids_.knows(plan_, n)) {
      return false;
    }
    const PlannedNode& node = plan_.nodes[n];
    const bool created = region_.read(static_cast<int>(n), &NodeWords::created) != 0;
    try {
      const procfs::Stat stat = procfs::read_stat(node.pid);
      const pid_t ours = options_.sibling ? ::getppid() : ::getpid();
      const pid_t cloner = node.cloner < 0 ? ours : plan_.nodes[static_cast<size_t>(node.cloner)].pid;
      return stat.state == 'Z' && (created || stat.parent == cloner);
    } catch (const Error&) {
      return created;  // it has been collected
    }
  }

  /// Ends all that was made. Only processes that have said that they exist are ours: a number that was taken
  /// belongs to somebody else.
  void kill_all() {
    for (size_t n = 0; n < nodes_.size(); ++n) {
      const int i = static_cast<int>(n);
      // The root is known to exist before it has said so.
      const bool created =
          region_.read(i, &NodeWords::created) != 0 || (root_cloned_ && &plan_.nodes[n] == &plan_.root());
      if (created && region_.read(i, &NodeWords::ended) == 0 && pids_.knows(plan_, n)) {
        ::kill(plan_.nodes[n].pid, SIGKILL);
      }
    }
    // Cloners come first: as they end, what they have cloned falls to us, also what hadn't said so yet. The
    // first process of a pid namespace ends only when all others there have been waited for.
    for (size_t n = 0; n < plan_.nodes.size(); ++n) {
      const size_t at = plan_.levels_above_root > 0 ? plan_.nodes.size() - 1 - n : n;
      const PlannedNode& node = plan_.nodes[at];
      if (!pids_.knows(plan_, at)) {
        continue;
      }
      if (node.task != nullptr) {
        for (const auto& thread : node.now->threads()) {
          if (thread.tid(0) != node.pid) {
            reap(thread.tid(0));
          }
        }
      }
      reap(node.pid);
    }
  }

  void report(std::string_view stage, uint64_t bytes, uint64_t total) const {
    if (callbacks_.progress) {
      callbacks_.progress({stage, bytes, total, plan_.nodes.size()});
    }
  }

  const CheckpointImage& image_;
  const RestoreOptions& options_;
  const RestoreCallbacks& callbacks_;
  Baseline baseline_;
  Plan plan_;
  std::optional<image::Namespace> clocks_;  // a time namespace that the tree hadn't
  DescriptorPlan descriptors_;
  Vdso vdso_;
  SharedMemoryRegions shared_memory_;
  std::optional<FileOpener> files_;
  Terminals terminals_;
  Region region_;
  ExternalNamespaces external_;
  OuterEnds outer_ends_;
  CgroupTree cgroup_tree_;  // goes, as the next, when nobody is in them any more
  std::optional<CgroupStay> cgroups_;
  std::optional<TcpLocks> connections_;
  std::optional<FirstProcess> first_;  // of a tree with namespaces of its own
  PidsNow pids_;
  std::map<uint64_t, const image::MemoryObject*> objects_;
  RunsByObject runs_;
  uint64_t zeros_ = 0;  // bytes that are written though they are zero
  SeccompFilters filters_;
  std::vector<NodeState> nodes_;
  bool root_cloned_ = false;
};

/// Also before a plan is made: without tasks there is none.
void refuse_pre_dump(const CheckpointImage& image) {
  if (image.header().pre_dump()) {
    throw Error("this is a pre-dump: it has memory, and no tasks", 0,
                "restore the dump that was made with it as its parent");
  }
}

}  // namespace

pid_t restore(const CheckpointImage& image, const RestoreOptions& options,
              const RestoreCallbacks& callbacks) {
  try {
    refuse_pre_dump(image);
    check_machine(image.header());
    const pid_t root = Restore(image, options, callbacks).run();
    return root;
  } catch (Error& e) {
    e.in(fmt::format("restore of process {}", image.header().root_pid()));
    throw;
  }
}

std::string describe_plan(const CheckpointImage& image) {
  refuse_pre_dump(image);
  return make_plan(tree_records(image)).describe() + DescriptorPlan(image).describe();
}

}  // namespace godwit
