#include "kernel/cgroup.h"

#include <algorithm>

#include "kernel/fd.h"

namespace godwit {

namespace {

/// Takes what stands in front of the separator, and both away.
std::string_view take(std::string_view& text, char separator) {
  const std::string_view first = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(first.size() + 1, text.size()));
  return first;
}

}  // namespace

bool Cgroup::has(std::string_view controller) const {
  if (controller.empty() || controllers.empty()) {
    return controller.empty() && controllers.empty();
  }
  for (std::string_view rest = controllers; !rest.empty();) {
    if (take(rest, ',') == controller) {
      return true;
    }
  }
  return false;
}

std::vector<Cgroup> parse_cgroups(std::string_view text) {
  std::vector<Cgroup> cgroups;
  while (!text.empty()) {
    std::string_view line = take(text, '\n');
    take(line, ':');  // the number of the hierarchy
    Cgroup& cgroup = cgroups.emplace_back();
    cgroup.controllers = take(line, ':');
    cgroup.path = line;
  }
  return cgroups;
}

CgroupMounts::CgroupMounts() : mounts_(parse_mountinfo(read_file("/proc/self/mountinfo"))) {
  std::erase_if(mounts_,
                [](const MountInfo& mount) { return mount.type != "cgroup" && mount.type != "cgroup2"; });
}

CgroupMounts::Place CgroupMounts::find(const Cgroup& cgroup) const {
  if (!cgroup.path.starts_with('/') || cgroup.path.starts_with("/..")) {
    return {};  // above the root of our cgroup namespace
  }
  for (const MountInfo& mount : mounts_) {
    const bool unified = mount.type == "cgroup2";
    const bool its = cgroup.controllers.empty()
                         ? unified
                         : !unified && std::ranges::any_of(mount.options, [&](const std::string& option) {
                             return cgroup.has(option);
                           });
    if (its && is_below(cgroup.path, mount.root)) {
      return {joined_path(mount.mount_point, relative_to(cgroup.path, mount.root)), mount.mount_point};
    }
  }
  return {};
}

}  // namespace godwit
