#include "restore/pids_now.h"

#include <sys/ioctl.h>

#include <algorithm>

#include "kernel/error.h"
#include "kernel/namespace.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

/// The pid here of process or thread `inside` of the pid namespace of `member`.
pid_t translate(pid_t member, const std::vector<pid_t>& inside) {
  const Fd space = open_namespace(member, "pid");
  if (const int pid = pid_from_namespace(space.get(), inside.back()); pid > 0) {
    return pid;
  }
  throw errno_error("cannot find out which pid {} of the tree's pid namespace has here", inside.back());
}

}  // namespace

image::Task& PidsNow::own_record(PlannedNode& node) {
  const auto found = std::find_if(records_.begin(), records_.end(),
                                  [&](const image::Task& record) { return &record == node.now; });
  if (found != records_.end()) {
    return *found;
  }
  records_.push_back(*node.task);
  node.now = &records_.back();
  return records_.back();
}

void PidsNow::learn(Plan& plan, int node, pid_t pid) {
  PlannedNode& n = plan.nodes[static_cast<size_t>(node)];
  if (n.pids[0] == 0) {
    asked_.insert(node);
  }
  n.pids[0] = pid;
  if (n.pid == pid) {
    return;
  }
  changed_[n.pid] = pid;
  n.pid = pid;
  image::Task& record = own_record(n);
  record.set_pid(0, pid);
  if (record.threads_size() > 0) {
    record.mutable_threads(0)->set_tid(0, pid);
  }
}

void PidsNow::learn(Plan& plan, int node) {
  const PlannedNode& n = plan.nodes[static_cast<size_t>(node)];
  if (!knows(plan, static_cast<size_t>(node))) {
    learn(plan, node, translate(plan.root().pid, n.pids));
  }
}

void PidsNow::learn_threads(Plan& plan, int node) {
  PlannedNode& n = plan.nodes[static_cast<size_t>(node)];
  if (!asked_.contains(node)) {
    return;  // it and its threads were made with their old numbers
  }
  for (int i = 1; i < n.task->threads_size(); ++i) {
    const pid_t before = n.task->threads(i).tid(0);
    const pid_t now = translate(n.pid, plan.ids(n.task->threads(i).tid()));
    if (now != before) {
      changed_[before] = now;
      own_record(n).mutable_threads(i)->set_tid(0, now);
    }
  }
}

bool PidsNow::is_ours(const Plan& plan, pid_t in_image) const {
  if (ours_.empty()) {
    std::set<pid_t> unknown;  // of those whom the kernel has given another number that nobody has asked for
    for (size_t i = 0; i < plan.nodes.size(); ++i) {
      const PlannedNode& node = plan.nodes[i];
      const pid_t before = node.task != nullptr ? node.task->pid(0) : node.pid;
      (knows(plan, i) ? ours_ : unknown).insert(before);
      if (node.task == nullptr) {
        continue;
      }
      ours_.insert({node.task->process_group(), node.task->session()});
      for (const auto& thread : node.task->threads()) {
        ours_.insert(thread.tid(0));
      }
    }
    for (const pid_t number : unknown) {
      ours_.erase(number);
    }
  }
  return ours_.contains(in_image);
}

pid_t PidsNow::now(const Plan& plan, pid_t in_image) const {
  if (const auto found = changed_.find(in_image); found != changed_.end()) {
    return found->second;
  }
  if (!is_ours(plan, in_image)) {
    throw error("process, thread or group {} isn't of this tree, or has a number that isn't known", in_image);
  }
  return in_image;
}

}  // namespace godwit
