#include "compat/outside.h"

#include "kernel/error.h"

namespace godwit::compat {

namespace {

/// mnt[] asks that mounts from outside be found without being named, which they are in any case.
bool asks_for_all_mounts(const ExternalResource& external) {
  return external.kind == "mnt" && external.what.empty();
}

/// lxc-checkpoint repeats here what --lsm-profile says, which is judged there.
bool is_profile(const std::string& text) {
  return text.starts_with("apparmor:") || text.starts_with("selinux:");
}

/// Without a name nobody could hand it over again.
void require_name(const std::string& name, const std::string& text) {
  if (name.empty()) {
    throw error("external resource '{}' without a name isn't supported", text);
  }
}

}  // namespace

void set_outside(const Settings& settings, DumpOptions& options) {
  for (const ExternalMount& mount : settings.external_mounts) {
    require_name(mount.value, mount.key);
    options.mounts.external[mount.key] = mount.value;
  }
  for (const std::string& text : settings.external) {
    const ExternalResource external = parse_external(text);
    if (asks_for_all_mounts(external)) {
      continue;
    }
    require_name(external.name, text);
    if (external.kind == "mnt") {
      options.mounts.external[external.what] = external.name;
    } else if (external.kind == "veth" || is_external_by_inode(external.kind)) {
      options.external.push_back(external);
    } else {
      throw error("external resource '{}' isn't supported", text);
    }
  }
  // Clients name pipes and devices only when they restore.
  options.external_pipes = true;
  options.external_veths = true;
  options.empty_network = settings.empty_network;
  options.mounts.skip = settings.skipped_mounts;
  options.mounts.enable = settings.enabled_file_systems;
}

std::map<std::string, std::string> outside_paths(const Settings& settings) {
  std::map<std::string, std::string> paths;
  for (const ExternalMount& mount : settings.external_mounts) {
    if (!mount.value.empty()) {  // what hasn't been told is missed only if the checkpoint has it
      paths[mount.key] = mount.value;
    }
  }
  for (const std::string& text : settings.external) {
    if (is_profile(text)) {
      continue;
    }
    const ExternalResource external = parse_external(text);
    if (asks_for_all_mounts(external)) {
      continue;
    }
    if (external.kind == "veth") {
      paths[fmt::format("veth[{}]", external.what)] = external.name;
    } else if (external.kind == "mnt") {
      paths[external.what] = external.name;
    } else {
      throw error("external resource '{}' isn't supported", text);
    }
  }
  for (const std::string& text : settings.inherited) {
    const ExternalResource inherited = parse_external(text);
    if (inherited.kind != "fd") {
      throw error("inherited descriptor '{}' isn't supported", text);
    }
    paths[inherited.name] = "/proc/self/fd/" + inherited.what;
  }
  return paths;
}

std::vector<CgroupRoot> cgroup_roots(const Settings& settings) {
  std::vector<CgroupRoot> roots;
  roots.reserve(settings.cgroup_roots.size());
  for (const std::string& text : settings.cgroup_roots) {
    roots.push_back(parse_cgroup_root(text));
  }
  return roots;
}

}  // namespace godwit::compat
