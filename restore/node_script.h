#pragma once

#include <map>
#include <vector>

#include "plan/plan.h"
#include "restore/descriptors.h"
#include "restore/mm.h"
#include "restore/region.h"
#include "restore/state.h"

namespace godwit {

/// What the scripts of all nodes are written from. References must outlive the region's scripts.
struct ScriptContext {
  const Plan& plan;
  Region& region;
  LayoutContext layout;
  DescriptorPlan& descriptors;
  const Baseline& baseline;
  const SeccompFilters& filters;
  int first_descriptor;  // what the coordinator has made for all tasks lies at and above this number
};

/// Writes the scripts of all nodes, and last the coordinator's own, which clones the root.
/// `sibling`: as a child of our parent. Returns that script's index in the region.
size_t write_scripts(const ScriptContext& context, bool sibling);

}  // namespace godwit
