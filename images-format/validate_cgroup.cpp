#include <climits>
#include <set>

#include "images-format/validate_index.h"
#include "kernel/cgroup.h"

namespace godwit {

namespace {

constexpr size_t kMaxControllers = 256;
constexpr uint32_t kMaxMode = 07777;

void require_controllers(const std::string& controllers) {
  require(controllers.size() <= kMaxControllers && controllers.find('\0') == std::string::npos &&
              controllers.find('/') == std::string::npos,
          "the name of a hierarchy has {} bytes, or others than a name has", controllers.size());
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

void validate_hierarchy(const image::CgroupHierarchy& hierarchy) {
  require_controllers(hierarchy.controllers());
  require(is_cgroup_path(hierarchy.top()), "its top isn't an absolute path without ..");
  std::set<std::string> seen;
  for (const image::CgroupDirectory& cgroup : hierarchy.cgroups()) {
    require(is_cgroup_path(cgroup.path()), "a cgroup isn't an absolute path without ..");
    require(seen.insert(cgroup.path()).second, "cgroup {} is there twice", cgroup.path());
    require(cgroup.mode() <= kMaxMode, "cgroup {} has the mode {:o}", cgroup.path(), cgroup.mode());
  }
}

void require_set(uint32_t id, const ValidationIndex& index) {
  require(id == 0 || index.cgroup_sets.contains(id), "cgroup set {} isn't there", id);
}

}  // namespace

void validate_cgroups(const std::vector<Record>& records, const ValidationIndex& index) {
  for (const auto& [id, set] : index.cgroup_sets) {
    with_context([number = id] { return fmt::format("cgroup set {}", number); },
                 [&, s = set] { validate_set(*s); });
  }
  std::set<std::string> hierarchies;
  for_each_record<image::CgroupHierarchy>(records, [&](const image::CgroupHierarchy& hierarchy) {
    require_controllers(hierarchy.controllers());
    with_context([&] { return fmt::format("cgroups of hierarchy '{}'", hierarchy.controllers()); },
                 [&] {
                   require(hierarchies.insert(hierarchy.controllers()).second, "it is there twice");
                   validate_hierarchy(hierarchy);
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
