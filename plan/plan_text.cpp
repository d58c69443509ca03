#include <fmt/core.h>

#include "plan/plan.h"

namespace godwit {

std::string Plan::describe() const {
  std::string text;
  std::vector<size_t> depth(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const PlannedNode& n = nodes[i];
    if (n.cloner >= 0) {
      depth[i] = depth[static_cast<size_t>(n.cloner)] + 1;
    }
    text += std::string(2 * depth[i], ' ');
    switch (n.kind) {
      case PlannedNode::Kind::Task:
        text += fmt::format("task {} ({}), {} thread{}", n.pid, n.task->threads(0).comm(),
                            n.task->threads_size(), n.task->threads_size() == 1 ? "" : "s");
        break;
      case PlannedNode::Kind::Zombie:
        text += fmt::format("zombie {} ({})", n.pid, n.task->comm());
        break;
      case PlannedNode::Kind::Helper:
        text += fmt::format("helper {}, ends before the tree runs", n.pid);
        break;
    }
    text += fmt::format(", cloned by {}", n.cloner < 0
                                              ? std::string("the coordinator")
                                              : std::to_string(nodes[static_cast<size_t>(n.cloner)].pid));
    if (n.stage == CloneStage::BeforeSession || n.stage == CloneStage::BeforeSessionFilled) {
      text += " before that leaves its session";
    }
    if (n.shares_pages) {
      text += ", shares its pages copy-on-write";
    }
    if (n.leads_session) {
      text += fmt::format(", makes session {}", n.pid);
    }
    if (n.group != 0 && n.group != n.pid) {
      text += fmt::format(", joins process group {}", n.group);
    }
    if (n.cloner != n.parent) {
      text += fmt::format(", falls to {} as an orphan", nodes[static_cast<size_t>(n.parent)].pid);
    }
    text += '\n';
  }
  return text;
}

}  // namespace godwit
