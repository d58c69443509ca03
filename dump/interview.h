#pragma once

#include <deque>

#include "dump/task_state.h"

namespace godwit {

/// Asks every thread of every task what only it can be asked: one parasite an address space, one script a
/// thread, all of them at work at the same time. Afterwards no parasite is left. The threads must stand
/// still; their mappings must have been collected. Throws Error that names the task.
void interview(std::deque<TaskState>& tasks);

}  // namespace godwit
