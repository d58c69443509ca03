#include "plan/plan.h"

#include <algorithm>
#include <csignal>
#include <map>

#include "images-format/memory.pb.h"
#include "kernel/error.h"
#include "plan/order.h"

namespace godwit {

namespace {

/// Objects with pages that a parent task shares.
std::set<uint64_t> copy_on_write_objects(const CheckpointImage& image) {
  std::set<uint64_t> found;
  for (const auto* object : image.all<image::MemoryObject>()) {
    const auto& kinds = object->run_kind();
    if (std::find(kinds.begin(), kinds.end(), image::PAGE_INHERITED) != kinds.end()) {
      found.insert(object->id());
    }
  }
  return found;
}

class Planner {
 public:
  Planner(const TreeRecords& tree, const PidIsFree& is_free) : tree_(tree), is_free_(is_free) {}

  Plan make() {
    for (const auto* mm : tree_.mms) {
      mms_[mm->id()] = mm;
    }
    for (const auto* task : tree_.tasks) {
      tasks_[task->pid(0)] = task;
      children_[task->parent()].push_back(task->pid(0));
      used_.insert(task->pid(0));
      for (const auto& thread : task->threads()) {
        used_.insert(thread.tid(0));
      }
      used_.insert({task->session(), task->process_group()});
      used_inside_.insert(task->pid().begin(), task->pid().end());
      used_inside_.insert(task->session_inside().begin(), task->session_inside().end());
      used_inside_.insert(task->group_inside().begin(), task->group_inside().end());
      for (const auto& thread : task->threads()) {
        used_inside_.insert(thread.tid().begin(), thread.tid().end());
      }
    }
    const image::Task& root = *tasks_.at(tree_.root_pid);
    plan_.levels_above_root = root.pid_size() - 1;
    find_root_namespaces(root);
    add_tasks(tree_.root_pid, -1);
    // Nodes grow while sessions are looked at: helpers lead sessions or hand children over.
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      find_cloner(static_cast<int>(i));
    }
    settle_adoptions();
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      find_group(static_cast<int>(i));
    }
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      set_stage(static_cast<int>(i));
    }
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (node(static_cast<int>(i)).shares_pages) {
        inherit_from_parent(static_cast<int>(i));
      }
    }
    Plan plan = in_order(plan_.nodes);
    plan.root_namespaces = plan_.root_namespaces;
    plan.levels_above_root = plan_.levels_above_root;
    return plan;
  }

 private:
  PlannedNode& node(int i) { return plan_.nodes[static_cast<size_t>(i)]; }

  void find_root_namespaces(const image::Task& root) {
    for (const auto* record : tree_.namespaces) {
      for (const auto& reference : root.namespaces()) {
        if (reference.id() == record->id() && reference.kind() == record->kind()) {
          if (record->external().empty() && record->kind() == "user") {
            throw refusal("task {} in a {} namespace of its own", root.pid(0), record->kind());
          }
          plan_.root_namespaces.push_back(record);
        }
      }
    }
  }

  /// The pid that others outside see is had again if nobody has it meanwhile. Inside a user namespace of its
  /// own the tree may not choose it.
  std::vector<pid_t> pids(const google::protobuf::RepeatedField<int32_t>& in_image) {
    std::vector<pid_t> ids = plan_.ids(in_image);
    const bool may_choose = plan_.root_namespace("user") == nullptr || in_image[0] == tree_.root_pid;
    if (plan_.levels_above_root > 0 && (!may_choose || !is_free_(ids[0]))) {
      ids[0] = 0;
    }
    return ids;
  }

  void add_tasks(pid_t pid, int parent, int depth = 0) {
    constexpr int kDeepest = 1000;
    if (depth > kDeepest) {
      throw error("task {} has more than {} ancestors in the tree", pid, kDeepest);
    }
    const image::Task* task = tasks_.at(pid);
    PlannedNode made;
    made.task = task;
    made.now = task;
    made.pid = pid;
    made.pids = pids(task->pid());
    for (const auto& thread : task->threads()) {
      if (pids(thread.tid())[0] == 0) {
        made.pids[0] = 0;
      }
    }
    made.parent = parent;
    made.cloner = parent;
    if (task->state() == image::Task::ZOMBIE) {
      made.kind = PlannedNode::Kind::Zombie;
      if (task->exit_signal() == SIGKILL || task->exit_signal() == SIGSTOP) {
        throw refusal("task {}, a zombie that tells its end by signal {},", pid, task->exit_signal());
      }
    } else {
      made.mm = mms_.at(task->mm_id());
    }
    made.leads_session = task->session() == pid;
    const int index = static_cast<int>(plan_.nodes.size());
    by_pid_[pid] = index;
    plan_.nodes.push_back(made);
    for (const pid_t child : children_[pid]) {
      add_tasks(child, index, depth + 1);
    }
  }

  [[nodiscard]] pid_t session_of(const PlannedNode& n) const {
    return n.task != nullptr ? n.task->session() : helper_session_.at(n.pid);
  }

  /// The session in which a node is born: its cloner's, before or after that one makes its own.
  pid_t birth_session(int i) {
    const PlannedNode& n = node(i);
    if (n.cloner < 0) {
      return 0;
    }
    const PlannedNode& by = node(n.cloner);
    const bool before = by.leads_session && !n.leads_session && session_of(n) != session_of(by);
    return before ? birth_session(n.cloner) : session_of(by);
  }

  void find_cloner(int i) {
    if (node(i).leads_session || node(i).parent < 0 || node(i).kind == PlannedNode::Kind::Helper) {
      if (node(i).parent < 0 && !node(i).leads_session && session_of(node(i)) != 0) {
        throw error("task {} belongs to session {}, which isn't in the checkpoint", node(i).pid,
                    session_of(node(i)));
      }
      return;
    }
    const pid_t session = session_of(node(i));
    if (birth_session(i) == session) {
      return;
    }
    if (session == 0) {
      throw refusal("task {}, an orphan of the session that the tree was started in,", node(i).pid);
    }
    // Its real parent was somebody else, who belonged to that session and is gone: another process of the
    // session clones it and ends, so that it falls to the parent that it has now.
    const int leader = session_leader(session, node(i).parent);
    int cloner = leader;
    if (node(leader).kind == PlannedNode::Kind::Task) {
      cloner = add_helper(free_pid(), leader, session, false);
    }
    node(i).cloner = cloner;
    node(node(i).parent).scaffold_subreaper = true;
  }

  // An orphan falls to the nearest ancestor of its parent that is a child subreaper when that one ends
  // (find_new_reaper of kernel/exit.c).

  void settle_adoptions() {
    std::map<int, std::set<int>> adopters;  // by who leaves orphans behind
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (is_orphan(static_cast<int>(i))) {
        adopters[plan_.nodes[i].cloner].insert(plan_.nodes[i].parent);
      }
    }
    for (const auto& [cloner, parents] : adopters) {
      if (parents.size() > 1) {
        separate(cloner, parents);
      }
    }
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (plan_.nodes[i].kind == PlannedNode::Kind::Helper && plan_.nodes[i].leads_session) {
        place_below_adopters(static_cast<int>(i));
      }
    }
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      if (is_orphan(static_cast<int>(i))) {
        adopt(static_cast<int>(i));
      }
    }
  }

  [[nodiscard]] bool is_orphan(int i) { return node(i).cloner >= 0 && node(i).cloner != node(i).parent; }

  /// All orphans of one process fall to the same adopter: each adopter's get a helper of their own.
  void separate(int cloner, const std::set<int>& parents) {
    const size_t count = plan_.nodes.size();
    for (const int parent : parents) {
      const int helper = add_helper(free_pid(), cloner, session_of(node(cloner)), false);
      for (size_t i = 0; i < count; ++i) {
        if (plan_.nodes[i].cloner == cloner && plan_.nodes[i].parent == parent) {
          plan_.nodes[i].cloner = helper;
        }
      }
    }
  }

  [[nodiscard]] int depth(int i) {
    int above = 0;
    for (int at = node(i).parent; at >= 0; at = node(at).parent) {
      ++above;
    }
    return above;
  }

  /// A stand-in for a session's leader may stand anywhere, as long as all who adopt its orphans are above it.
  void place_below_adopters(int leader) {
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      const int cloner = plan_.nodes[i].cloner;
      const int parent = plan_.nodes[i].parent;
      const bool leaves =
          is_orphan(static_cast<int>(i)) && (cloner == leader || node(cloner).cloner == leader);
      if (leaves && depth(parent) > depth(node(leader).parent)) {
        node(leader).parent = node(leader).cloner = parent;
      }
    }
  }

  void adopt(int orphan) {
    const int cloner = node(orphan).cloner;
    const int adopter = node(orphan).parent;
    int at = node(cloner).parent;
    for (; at >= 0 && at != adopter; at = node(at).parent) {
      PlannedNode& between = node(at);
      const bool adopts =
          between.scaffold_subreaper || (between.task != nullptr && between.task->child_subreaper());
      if (adopts &&
          std::find(between.passers.begin(), between.passers.end(), cloner) == between.passers.end()) {
        between.passers.push_back(cloner);
      }
    }
    if (at < 0) {
      throw refusal("task {}, an orphan of session {} whose parent {} isn't above that session's processes,",
                    node(orphan).pid, session_of(node(orphan)), node(adopter).pid);
    }
    node(cloner).adopter = adopter;
  }

  /// The node that leads a session; a helper is made if its leader is gone.
  int session_leader(pid_t session, int parent) {
    const auto found = by_pid_.find(session);
    if (found == by_pid_.end()) {
      return add_helper(session, parent, session, true);
    }
    if (!node(found->second).leads_session) {
      throw error("session {} has no leader, and its number belongs to another task", session);
    }
    return found->second;
  }

  int add_helper(pid_t pid, int parent, pid_t session, bool leads) {
    PlannedNode helper;
    helper.kind = PlannedNode::Kind::Helper;
    helper.pid = pid;
    helper.pids = helper_pids(pid, parent);
    helper.parent = parent;
    helper.cloner = parent;
    helper.leads_session = leads;
    used_.insert(pid);
    helper_session_[pid] = session;
    const int index = static_cast<int>(plan_.nodes.size());
    by_pid_[pid] = index;
    plan_.nodes.push_back(helper);
    return index;
  }

  /// A helper has the pid namespace of who clones it. What it leads has its numbers there in the image; a
  /// helper that leads nothing may have any.
  std::vector<pid_t> helper_pids(pid_t pid, int cloner) {
    const size_t levels = node(cloner).pids.size();
    if (levels == 1 && plan_.levels_above_root == 0) {
      return {pid};
    }
    for (const auto& [id, task] : tasks_) {
      const auto& inside = task->session() == pid ? task->session_inside() : task->group_inside();
      if ((task->session() == pid || task->process_group() == pid) &&
          inside.size() ==
              static_cast<int>(levels) + plan_.levels_above_root - (plan_.levels_above_root > 0)) {
        std::vector<pid_t> ids = pids(inside);
        if (ids.back() == 0) {
          throw refusal("session or process group {}, which was led from outside its pid namespace,", pid);
        }
        return ids;
      }
    }
    std::vector<pid_t> ids(levels, 0);
    ids[0] = plan_.levels_above_root == 0 ? pid : 0;
    for (size_t level = 1; level < levels; ++level) {
      ids[level] = free_pid_inside();
    }
    return ids;
  }

  /// A number that the image uses at no level.
  pid_t free_pid_inside() {
    constexpr pid_t kHighest = 32000;  // pid_max is never lower than that by default
    pid_t pid = kHighest;
    while (pid > 2 && used_inside_.contains(pid)) {
      --pid;
    }
    used_inside_.insert(pid);
    return pid;
  }

  /// A number that nothing in the image uses, near the root's.
  pid_t free_pid() {
    pid_t pid = tree_.root_pid;
    do {
      pid = pid > 2 ? pid - 1 : 4000000;
    } while (used_.contains(pid) || !is_free_(pid));
    return pid;
  }

  void find_group(int i) {
    if (node(i).kind == PlannedNode::Kind::Helper) {
      return;
    }
    const pid_t group = node(i).task->process_group();
    if (group == 0) {
      return;
    }
    node(i).group = group;
    auto found = by_pid_.find(group);
    if (found == by_pid_.end()) {
      // The leader is gone. Somebody of the same session stands in for it until all have joined.
      const pid_t session = session_of(node(i));
      const int by = session == 0 ? 0 : session_leader(session, node(i).parent);
      const int helper = add_helper(group, by, session, false);
      node(helper).makes_group = true;
      found = by_pid_.find(group);
    }
    PlannedNode& leader = node(found->second);
    node(i).group_leader = found->second;
    // A session leader leads its group from the start.
    if (!leader.leads_session) {
      leader.makes_group = true;
    } else if (session_of(leader) != session_of(node(i))) {
      throw error("task {} is in process group {} of another session", node(i).pid, group);
    }
  }

  void set_stage(int i) {
    PlannedNode& n = node(i);
    if (n.cloner < 0) {
      return;
    }
    const PlannedNode& by = node(n.cloner);
    const bool before =
        by.leads_session && !n.leads_session && session_of(n) != session_of(by) && n.task != nullptr;
    n.shares_pages = n.mm != nullptr && tree_.copy_on_write_objects.contains(n.mm->memory_object());
    n.stage = before ? CloneStage::BeforeSession : CloneStage::AfterSession;
    if (n.kind == PlannedNode::Kind::Task && by.kind == PlannedNode::Kind::Task) {
      n.shares_descriptors = n.task->descriptor_table_id() == by.task->descriptor_table_id();
      n.shares_filesystem = n.task->filesystem_id() == by.task->filesystem_id();
    }
  }

  /// The node must be born with its parent's memory. Helpers and zombies in between, which have none of their
  /// own, hand it on; where tasks stand in between, nothing can be shared.
  void inherit_from_parent(int i) {
    int handed = i;
    while (node(handed).cloner != node(i).parent) {
      handed = node(handed).cloner;
      if (handed < 0 || node(handed).kind == PlannedNode::Kind::Task) {
        node(i).shares_pages = false;
        node(i).copies_pages = true;
        return;
      }
    }
    PlannedNode& first = node(handed);
    first.stage = first.stage == CloneStage::BeforeSession || first.stage == CloneStage::BeforeSessionFilled
                      ? CloneStage::BeforeSessionFilled
                      : CloneStage::Filled;
  }

  const TreeRecords& tree_;
  const PidIsFree& is_free_;
  std::map<pid_t, std::vector<pid_t>> children_;
  Plan plan_;
  std::map<pid_t, const image::Task*> tasks_;
  std::map<uint32_t, const image::Mm*> mms_;
  std::map<pid_t, int> by_pid_;
  std::map<pid_t, pid_t> helper_session_;
  std::set<pid_t> used_;
  std::set<pid_t> used_inside_;  // at any level
};

}  // namespace

TreeRecords tree_records(const CheckpointImage& image) {
  return {.root_pid = image.header().root_pid(),
          .tasks = image.all<image::Task>(),
          .mms = image.all<image::Mm>(),
          .copy_on_write_objects = copy_on_write_objects(image),
          .namespaces = image.all<image::Namespace>()};
}

std::vector<pid_t> Plan::ids(const google::protobuf::RepeatedField<int32_t>& in_image) const {
  if (in_image.size() <= levels_above_root) {
    throw error("task {} stands above the pid namespace of the root", in_image.empty() ? 0 : in_image[0]);
  }
  std::vector<pid_t> ids;
  if (levels_above_root > 0) {
    ids.push_back(in_image[0]);
  }
  ids.insert(ids.end(), in_image.begin() + levels_above_root, in_image.end());
  return ids;
}

pid_t Plan::pid_seen_by(int who, int by) const {
  const std::vector<pid_t>& ids = nodes[static_cast<size_t>(who)].pids;
  const size_t level = nodes[static_cast<size_t>(by)].pids.size() - 1;
  return level < ids.size() ? ids[level] : 0;
}

bool Plan::opens_pid_namespace(int node) const {
  const PlannedNode& n = nodes[static_cast<size_t>(node)];
  const size_t above = n.cloner < 0 ? 1 : nodes[static_cast<size_t>(n.cloner)].pids.size();
  return n.pids.size() > above;
}

const image::Namespace* Plan::root_namespace(std::string_view kind) const {
  const auto found = std::find_if(root_namespaces.begin(), root_namespaces.end(),
                                  [&](const image::Namespace* record) { return record->kind() == kind; });
  return found == root_namespaces.end() ? nullptr : *found;
}

Plan make_plan(const TreeRecords& tree, const PidIsFree& is_free) {
  return Planner(tree, is_free).make();
}

int member_that_is_watched(const Plan& plan, int node) {
  const PlannedNode& of = plan.nodes[static_cast<size_t>(node)];
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const PlannedNode& member = plan.nodes[i];
    if (member.kind != PlannedNode::Kind::Task || member.group != of.group || of.group == 0) {
      continue;
    }
    if (member.parent < 0) {
      if (member.task->session() == 0) {
        return static_cast<int>(i);
      }
      continue;
    }
    const PlannedNode& parent = plan.nodes[static_cast<size_t>(member.parent)];
    if (parent.group != member.group && parent.task->session() == member.task->session()) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace godwit
