#include "kernel/cgroup.h"

#include <algorithm>
#include <climits>
#include <utility>

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

std::optional<CgroupMode> cgroup_mode(std::string_view word) {
  constexpr std::pair<std::string_view, CgroupMode> kWords[] = {
      {"ignore", CgroupMode::Ignore}, {"none", CgroupMode::None}, {"props", CgroupMode::Props},
      {"soft", CgroupMode::Soft},     {"", CgroupMode::Soft},     {"full", CgroupMode::Full},
      {"strict", CgroupMode::Strict}};
  for (const auto& [name, mode] : kWords) {
    if (name == word) {
      return mode;
    }
  }
  return std::nullopt;
}

bool is_cgroup_path(std::string_view path) {
  return path.starts_with('/') && path.size() < PATH_MAX && path.find("/../") == std::string_view::npos &&
         !path.ends_with("/..") && path.find('\0') == std::string_view::npos;
}

CgroupRoot parse_cgroup_root(std::string_view text) {
  const size_t colon = text.starts_with('/') ? std::string_view::npos : text.find(':');
  if (colon == std::string_view::npos) {
    return {std::nullopt, std::string(text)};
  }
  return {std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

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
