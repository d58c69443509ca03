#include "plan/order.h"

#include <algorithm>
#include <climits>
#include <unordered_map>

#include "kernel/error.h"

namespace godwit {

namespace {

/// Tables come into being with the first task that has them; a clone alone hands them on.
class Tables {
 public:
  void add(const PlannedNode& n) {
    check(n, n.shares_descriptors, descriptors_, n.task->descriptor_table_id(), "descriptor table");
    check(n, n.shares_filesystem, filesystems_, n.task->filesystem_id(), "working directory");
  }

 private:
  static void check(const PlannedNode& n, bool shared, std::unordered_map<uint32_t, pid_t>& first,
                    uint32_t id, const char* what) {
    const auto [found, is_new] = first.emplace(id, n.pid);
    if (!is_new && !shared) {
      throw refusal("task {}, whose {} is that of task {}, which can't clone it,", n.pid, what,
                    found->second);
    }
  }

  std::unordered_map<uint32_t, pid_t> descriptors_;
  std::unordered_map<uint32_t, pid_t> filesystems_;
};

class Order {
 public:
  explicit Order(const std::vector<PlannedNode>& nodes)
      : nodes_(nodes), place_(nodes.size(), -1), cloned_by_(nodes.size()) {
    for (size_t i = 1; i < nodes.size(); ++i) {
      cloned_by_[static_cast<size_t>(nodes[i].cloner)].push_back(i);
    }
  }

  Plan make() {
    add(0);
    if (plan_.nodes.size() != nodes_.size()) {
      throw error("the tree of tasks contradicts itself");
    }
    for (size_t i = 0; i < plan_.nodes.size(); ++i) {
      renumber(static_cast<int>(i));
    }
    order_wards();
    return std::move(plan_);
  }

 private:
  PlannedNode& node(int i) { return plan_.nodes[static_cast<size_t>(i)]; }
  [[nodiscard]] int placed(int i) const { return i < 0 ? -1 : place_[static_cast<size_t>(i)]; }

  void add(size_t i) {
    PlannedNode n = nodes_[i];
    const int at = static_cast<int>(plan_.nodes.size());
    place_[i] = at;
    if (n.cloner >= 0) {
      n.cloner = placed(n.cloner);
      node(n.cloner).children.push_back(at);
    }
    if (n.kind == PlannedNode::Kind::Task) {
      tables_.add(n);
    }
    plan_.nodes.push_back(std::move(n));
    for (const size_t child : cloned_by_[i]) {
      add(child);
    }
  }

  void renumber(int i) {
    PlannedNode& n = node(i);
    n.adopter = placed(n.adopter);
    for (int& passer : n.passers) {
      passer = placed(passer);
    }
    n.parent = placed(n.parent);
    if (n.parent >= 0) {
      node(n.parent).wards.push_back(i);
    }
    n.group_leader = placed(n.group_leader);
    if (n.group_leader >= 0 && n.group_leader != i) {
      node(n.group_leader).members.push_back(i);
    }
  }

  [[nodiscard]] int depth(int i) {
    int above = 0;
    for (; i >= 0; i = node(i).parent) {
      ++above;
    }
    return above;
  }

  /// Nobody is waited for before those on whom its end depends: who leaves orphans to an outer adopter goes
  /// first, since an inner one may have to wait for that; then a node's own orphans; stopped tasks last.
  void order_wards() {
    const auto rank = [&](int ward) {
      const PlannedNode& w = node(ward);
      const bool stopped = w.kind == PlannedNode::Kind::Task && w.task->state() == image::Task::STOPPED;
      return stopped ? INT_MAX : w.cloner != w.parent ? INT_MAX - 1 : w.adopter < 0 ? 0 : depth(w.adopter);
    };
    for (PlannedNode& n : plan_.nodes) {
      std::stable_sort(n.wards.begin(), n.wards.end(), [&](int a, int b) { return rank(a) < rank(b); });
    }
  }

  const std::vector<PlannedNode>& nodes_;
  std::vector<int> place_;                      // in the plan, by number here
  std::vector<std::vector<size_t>> cloned_by_;  // by number here
  Tables tables_;
  Plan plan_;
};

}  // namespace

Plan in_order(const std::vector<PlannedNode>& nodes) {
  return Order(nodes).make();
}

}  // namespace godwit
