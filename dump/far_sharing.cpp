#include "dump/far_sharing.h"

#include <unordered_map>

#include "kernel/error.h"

namespace godwit {

namespace {

void refuse(const std::deque<TaskState>& tasks, const char* what, uint32_t (image::Task::*id)() const) {
  std::unordered_map<uint32_t, pid_t> first;
  for (const TaskState& task : tasks) {
    if (task.frozen->zombie()) {
      continue;
    }
    const uint32_t its = (task.record.*id)();
    const auto [found, is_new] = first.emplace(its, task.pid());
    if (!is_new && (task.parent == nullptr || (task.parent->record.*id)() != its)) {
      throw refusal("task {}, whose {} is that of task {}, which isn't its parent,", task.pid(), what,
                    found->second);
    }
  }
}

}  // namespace

void refuse_far_sharing(const std::deque<TaskState>& tasks) {
  refuse(tasks, "descriptor table", &image::Task::descriptor_table_id);
  refuse(tasks, "working directory", &image::Task::filesystem_id);
}

}  // namespace godwit
