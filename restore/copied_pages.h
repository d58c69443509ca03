#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "plan/plan.h"
#include "restore/memory.h"
#include "restore/mm.h"

namespace godwit {

/// Where pages come from that a node shared with its parent and can't inherit from it.
struct PagesToCopy {
  std::map<uint64_t, std::vector<PageNumbers>> by_object;  // MemoryObject that holds them: which pages
  std::vector<PageNumbers> zeros;
};

/// Follows the pages that `node` has from its parent to the ancestor whose own they are. Pure.
[[nodiscard]] PagesToCopy pages_to_copy(const Plan& plan, int node, const RunsByObject& runs);

}  // namespace godwit
