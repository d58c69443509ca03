#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "images-format/validate_index.h"
#include "kernel/cgroup.h"
#include "kernel/cgroup_property.h"
#include "kernel/mount.h"

namespace godwit {

namespace {

constexpr size_t kMaxControllers = 256;
constexpr uint32_t kMaxMode = 07777;
constexpr uint32_t kMaxFileMode = 0777;
constexpr size_t kMaxValue = 64 * 1024;

void require_controllers(const std::string& controllers) {
  require(controllers.size() <= kMaxControllers && controllers.find('\0') == std::string::npos &&
              controllers.find('/') == std::string::npos,
          "the name of a hierarchy has {} bytes, or others than a name has", controllers.size());
}

bool is_value(std::string_view value, CgroupProperty::Form form) {
  const bool several = form == CgroupProperty::Form::Lines || form == CgroupProperty::Form::Devices;
  return value.size() <= kMaxValue &&
         std::ranges::all_of(value, [&](char c) { return (c >= ' ' && c <= '~') || (several && c == '\n'); });
}

void validate_directory(const image::CgroupDirectory& cgroup, bool unified) {
  require(cgroup.mode() <= kMaxMode, "it has the mode {:o}", cgroup.mode());
  require(!cgroup.threaded() || unified, "it is threaded, but not of version 2");
  std::set<std::string> seen;
  for (const image::CgroupValue& one : cgroup.properties()) {
    const CgroupProperty* property = find_cgroup_property(one.file(), unified);
    require(property != nullptr, "a property with a name of {} bytes is unknown", one.file().size());
    require(seen.insert(one.file()).second, "property {} is there twice", one.file());
    require(is_value(one.value(), property->form), "property {} has a value of {} bytes, or no text",
            one.file(), one.value().size());
  }
  seen.clear();
  for (const image::CgroupFileOwner& owner : cgroup.owners()) {
    require(is_cgroup_delegation_file(owner.file()) || find_cgroup_property(owner.file(), unified) != nullptr,
            "a file with a name of {} bytes is unknown", owner.file().size());
    require(seen.insert(owner.file()).second && owner.mode() <= kMaxFileMode,
            "file {} has two owners, or the mode {:o}", owner.file(), owner.mode());
  }
}

/// What was outside of the dumper's cgroup namespace begins with "/..": that is known, but can't be made.
void require_place(const image::CgroupPlace& place) {
  require_controllers(place.controllers());
  require_path(place.path(), "a cgroup");
}

void validate_set(const image::CgroupSet& set) {
  std::set<std::string> seen;
  for (const image::CgroupPlace& place : set.places()) {
    require_place(place);
    require(seen.insert(place.controllers()).second, "it has two places in one hierarchy");
  }
}

/// Where somebody is: controllers and path.
using Places = std::set<std::pair<std::string, std::string>>;

void validate_hierarchy(const image::CgroupHierarchy& hierarchy, const Places& places) {
  require_controllers(hierarchy.controllers());
  require(is_cgroup_path(hierarchy.top()), "its top isn't an absolute path without ..");
  std::set<std::string> seen;
  for (const image::CgroupDirectory& cgroup : hierarchy.cgroups()) {
    require(is_cgroup_path(cgroup.path()), "a cgroup isn't an absolute path without ..");
    require(seen.insert(cgroup.path()).second, "cgroup {} is there twice", cgroup.path());
    require(cgroup.path() != "/", "it describes its root, which is everybody's");
    require(
        is_below(cgroup.path(), hierarchy.top()) || places.contains({hierarchy.controllers(), cgroup.path()}),
        "cgroup {} is neither below its top nor has tasks in it", cgroup.path());
    with_context([&] { return fmt::format("cgroup {}", cgroup.path()); },
                 [&] { validate_directory(cgroup, hierarchy.controllers().empty()); });
  }
}

void require_set(uint32_t id, const ValidationIndex& index) {
  require(id == 0 || index.cgroup_sets.contains(id), "cgroup set {} isn't there", id);
}

}  // namespace

void validate_cgroups(const std::vector<Record>& records, const ValidationIndex& index) {
  Places places;
  for (const auto& [id, set] : index.cgroup_sets) {
    with_context([number = id] { return fmt::format("cgroup set {}", number); },
                 [&, s = set] { validate_set(*s); });
    for (const image::CgroupPlace& place : set->places()) {
      places.emplace(place.controllers(), place.path());
    }
  }
  std::set<std::string> hierarchies;
  for_each_record<image::CgroupHierarchy>(records, [&](const image::CgroupHierarchy& hierarchy) {
    require_controllers(hierarchy.controllers());
    with_context([&] { return fmt::format("cgroups of hierarchy '{}'", hierarchy.controllers()); },
                 [&] {
                   require(hierarchies.insert(hierarchy.controllers()).second, "it is there twice");
                   validate_hierarchy(hierarchy, places);
                 });
  });
  for (const auto& [pid, task] : index.tasks) {
    with_context([number = pid] { return fmt::format("task {}", number); },
                 [&, t = task] {
                   require_set(t->cgroup_set(), index);
                   for (const image::Thread& thread : t->threads()) {
                     require_set(thread.cgroup_set(), index);
                   }
                 });
  }
}

}  // namespace godwit
