#pragma once

#include <map>
#include <vector>

#include "plan/plan.h"
#include "restore/cgroup_tree.h"
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
  const CgroupTree& cgroups;
  const Baseline& baseline;
  const SeccompFilters& filters;
  int first_descriptor;  // what the coordinator has made for all tasks lies at and above this number
};

/// Writes the scripts of all nodes. `sibling`: the root is a child of our parent. Returns the address of the
/// root's.
[[nodiscard]] uint64_t write_scripts(const ScriptContext& context, bool sibling);

/// Writes the coordinator's own script, which clones a root in our namespaces. Returns its index in the
/// region.
[[nodiscard]] size_t write_root_clone(const ScriptContext& context, uint64_t root_script, bool sibling);

}  // namespace godwit
