#include "compat/own_cgroups.h"

#include <algorithm>
#include <optional>
#include <string>

#include "kernel/fd.h"

namespace godwit::compat {

namespace {

/// One of several names with commas in between.
bool is_among(std::string_view name, std::string_view names) {
  while (!names.empty()) {
    const std::string_view first = names.substr(0, names.find(','));
    if (first == name) {
      return true;
    }
    names.remove_prefix(std::min(first.size() + 1, names.size()));
  }
  return false;
}

/// The path in a line `ID:CONTROLLERS:PATH`, if the line is of that controller.
std::optional<std::string_view> path_of(std::string_view line, std::optional<std::string_view> controller) {
  line.remove_prefix(std::min(line.find(':') + 1, line.size()));
  const std::string_view controllers = line.substr(0, line.find(':'));
  line.remove_prefix(std::min(controllers.size() + 1, line.size()));
  const bool matches =
      !controller || (controller->empty() ? controllers.empty() : is_among(*controller, controllers));
  return matches ? std::optional(line) : std::nullopt;
}

}  // namespace

bool is_our_cgroup(std::string_view name) {
  std::optional<std::string_view> controller;
  if (!name.starts_with('/')) {
    controller = name.substr(0, name.find(':'));
    name.remove_prefix(std::min(controller->size() + 1, name.size()));
  }
  const std::string text = read_file("/proc/self/cgroup");
  bool found = false;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (const auto path = path_of(line, controller); path) {
      if (*path != name) {
        return false;
      }
      found = true;
    }
  }
  return found;
}

}  // namespace godwit::compat
