#include "compat/outside.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "kernel/error.h"

namespace godwit::compat {

namespace {

/// "KIND[WHAT]:NAME".
struct External {
  std::string kind;
  std::string what;
  std::string name;
};

External parse(const std::string& text) {
  const size_t open = text.find('[');
  // Names have brackets too: "fd[1]:pipe:[41]". Without a name it ends there: "mnt[]".
  const size_t close =
      std::min(text.find("]:", open), text.ends_with(']') ? text.size() - 1 : std::string::npos);
  if (open == std::string::npos || close == std::string::npos || close < open) {
    throw error("external resource '{}' isn't supported", text);
  }
  External external{text.substr(0, open), text.substr(open + 1, close - open - 1), text.substr(close + 1)};
  if (external.name.starts_with(':')) {
    external.name.erase(0, 1);
  }
  return external;
}

/// "KEY:VALUE".
std::pair<std::string, std::string> split(const std::string& text) {
  const size_t colon = text.find(':');
  return {text.substr(0, colon), colon == std::string::npos ? "" : text.substr(colon + 1)};
}

/// mnt[] asks that mounts from outside be found without being named, which they are in any case.
bool asks_for_all_mounts(const External& external) {
  return external.kind == "mnt" && external.what.empty();
}

}  // namespace

void set_outside(const Settings& settings, DumpOptions& options) {
  constexpr std::array<std::string_view, 4> kNamespaces = {"net", "ipc", "uts", "cgroup"};
  for (const std::string& mount : settings.external_mounts) {
    const auto [place, name] = split(mount);
    options.mounts.external[place] = name;
  }
  for (const std::string& text : settings.external) {
    const External external = parse(text);
    if (asks_for_all_mounts(external)) {
      continue;
    }
    if (external.kind == "mnt") {
      options.mounts.external[external.what] = external.name;
    } else if (std::ranges::find(kNamespaces, external.kind) != kNamespaces.end()) {
      options.external.push_back(text);
    } else {
      throw error("external resource '{}' isn't supported", text);
    }
  }
  // Clients name pipes only when they restore.
  options.external_pipes = true;
  options.empty_network = settings.empty_network;
  options.mounts.skip = settings.skipped_mounts;
  options.mounts.enable = settings.enabled_file_systems;
}

std::map<std::string, std::string> outside_paths(const Settings& settings) {
  std::map<std::string, std::string> paths;
  for (const std::string& mount : settings.external_mounts) {
    paths.insert(split(mount));
  }
  for (const std::string& text : settings.external) {
    const External external = parse(text);
    if (asks_for_all_mounts(external)) {
      continue;
    }
    if (external.kind != "mnt") {
      throw error("external resource '{}' isn't supported", text);
    }
    paths[external.what] = external.name;
  }
  for (const std::string& text : settings.inherited) {
    const External inherited = parse(text);
    if (inherited.kind != "fd") {
      throw error("inherited descriptor '{}' isn't supported", text);
    }
    paths[inherited.name] = "/proc/self/fd/" + inherited.what;
  }
  return paths;
}

}  // namespace godwit::compat
