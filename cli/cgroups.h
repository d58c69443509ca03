#pragma once

#include <string>
#include <vector>

#include "kernel/cgroup.h"

namespace godwit::cli {

/// What --manage-cgroups says. Throws UsageError.
[[nodiscard]] CgroupMode manage_cgroups(const std::string& word);
/// What --cgroup-root says: [CONTROLLER:]PATH. Throws UsageError.
[[nodiscard]] std::vector<CgroupRoot> cgroup_roots(const std::vector<std::string>& given);

}  // namespace godwit::cli
