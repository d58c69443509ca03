#include "cli/cgroups.h"

#include <fmt/core.h>

#include "cli/command.h"

namespace godwit::cli {

CgroupMode manage_cgroups(const std::string& word) {
  const std::optional<CgroupMode> mode = cgroup_mode(word);
  if (!mode) {
    throw UsageError(
        fmt::format("--manage-cgroups takes ignore, none, props, soft, full or strict, not '{}'", word));
  }
  return *mode;
}

std::vector<CgroupRoot> cgroup_roots(const std::vector<std::string>& given) {
  std::vector<CgroupRoot> roots;
  for (const std::string& one : given) {
    CgroupRoot root = parse_cgroup_root(one);
    if (!is_cgroup_path(root.path)) {
      throw UsageError(
          fmt::format("--cgroup-root takes [CONTROLLER:]PATH with an absolute path, not '{}'", one));
    }
    roots.push_back(std::move(root));
  }
  return roots;
}

}  // namespace godwit::cli
