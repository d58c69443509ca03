#pragma once

#include <deque>

#include "dump/collectors.h"

namespace godwit {

/// A task can be given a descriptor table or a working directory with another only by being cloned by it.
/// Throws a refusal for those that share one with a task that isn't their parent.
void refuse_far_sharing(const std::deque<TaskState>& tasks);

}  // namespace godwit
