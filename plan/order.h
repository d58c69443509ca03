#pragma once

#include <vector>

#include "plan/plan.h"

namespace godwit {

/// The nodes in the order in which they are made, cloners first, with all that they say of one another by
/// number. Throws Error if a task shares a table with one that doesn't clone it, or if a node has no way to
/// come from the first one.
[[nodiscard]] Plan in_order(const std::vector<PlannedNode>& nodes);

}  // namespace godwit
