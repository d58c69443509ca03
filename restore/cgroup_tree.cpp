#include "restore/cgroup_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit {

namespace {

/// Whether a hierarchy of the image is the one that has these controllers here: which of them are together
/// may have changed.
bool is_same(const Cgroup& here, std::string_view controllers) {
  if (controllers.empty() || here.controllers.empty()) {
    return controllers.empty() && here.controllers.empty();
  }
  for (size_t at = 0; at <= controllers.size();) {
    const size_t end = std::min(controllers.find(',', at), controllers.size());
    if (here.has(controllers.substr(at, end - at))) {
      return true;
    }
    at = end + 1;
  }
  return false;
}

const image::CgroupPlace* place_in(const image::CgroupSet& set, const Cgroup& hierarchy) {
  const auto found = std::ranges::find_if(
      set.places(), [&](const image::CgroupPlace& place) { return is_same(hierarchy, place.controllers()); });
  return found == set.places().end() ? nullptr : &*found;
}

/// What was at or below `before` is at or below `now`; the rest is where it was.
std::string moved_path(const std::string& path, const std::string& before, const std::string& now) {
  return is_below(path, before) ? joined_path(now, relative_to(path, before)) : path;
}

void set_owner(const std::string& directory, const image::CgroupDirectory& record) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) {
    throw errno_error("cannot stat {}", directory);
  }
  if ((status.st_uid != record.uid() || status.st_gid != record.gid()) &&
      ::chown(directory.c_str(), record.uid(), record.gid()) != 0) {
    throw errno_error("cannot give cgroup {} to user {}", directory, record.uid());
  }
  if ((status.st_mode & 07777) != record.mode() && ::chmod(directory.c_str(), record.mode()) != 0) {
    throw errno_error("cannot set the mode of cgroup {}", directory);
  }
}

}  // namespace

CgroupTree::CgroupTree(const CheckpointImage& image, const Plan& plan, CgroupMode mode,
                       const std::vector<CgroupRoot>& roots)
    : mode_(mode), entry_(roots) {
  if (mode_ != CgroupMode::Ignore) {
    find_hierarchies(image, plan);
    find_paths(image, plan);
    find_moves(plan);
    add_directories(image);
  }
}

void CgroupTree::find_hierarchies(const CheckpointImage& image, const Plan& plan) {
  const uint32_t root_set = plan.root().task->cgroup_set();
  for (Cgroup& own : parse_cgroups(read_file("/proc/self/cgroup"))) {
    Hierarchy& hierarchy = hierarchies_.emplace_back();
    hierarchy.own = std::move(own);
    for (const auto* record : image.all<image::CgroupHierarchy>()) {
      if (is_same(hierarchy.own, record->controllers())) {
        hierarchy.top_before = record->top();
      }
    }
  }
  for (const auto* set : image.all<image::CgroupSet>()) {
    for (const image::CgroupPlace& place : set->places()) {
      const auto here = std::ranges::find_if(hierarchies_, [&](const Hierarchy& hierarchy) {
        return is_same(hierarchy.own, place.controllers());
      });
      if (here == hierarchies_.end()) {
        if (place.path() != "/") {
          log::warning("there are no cgroups of controllers '{}' here: {} isn't restored",
                       place.controllers(), place.path());
        }
      } else if (set->id() == root_set && here->top_before.empty()) {
        here->top_before = place.path();
      }
    }
  }
  for (Hierarchy& hierarchy : hierarchies_) {
    hierarchy.top = hierarchy.top_before.empty() ? hierarchy.own.path : hierarchy.top_before;
    for (const bool general : {true, false}) {
      for (const CgroupRoot& root : entry_) {
        if (general ? !root.controller : root.controller && hierarchy.own.has(*root.controller)) {
          hierarchy.top = root.path;
        }
      }
    }
  }
}

void CgroupTree::find_paths(const CheckpointImage& image, const Plan& plan) {
  const auto paths_of = [this](const image::CgroupSet* set) {
    Paths paths;
    for (const Hierarchy& hierarchy : hierarchies_) {
      const image::CgroupPlace* place = set == nullptr ? nullptr : place_in(*set, hierarchy.own);
      std::string& path = paths.emplace_back(hierarchy.top);
      if (place != nullptr) {
        path = moved_path(place->path(), hierarchy.top_before, hierarchy.top);
      }
      if (!is_cgroup_path(path)) {
        throw error("cgroup {} of hierarchy '{}' was outside of what godwit saw when it dumped", path,
                    hierarchy.own.controllers)
            .hint("--cgroup-root says where it is now");
      }
    }
    return paths;
  };
  for (const auto* set : image.all<image::CgroupSet>()) {
    paths_[set->id()] = paths_of(set);
  }
  // A cgroup namespace has the cgroup for its root in which its first process is when it is made.
  const image::Namespace* own = plan.root_namespace("cgroup");
  const auto root = paths_.find(plan.root().task->cgroup_set());
  paths_[0] =
      (own != nullptr && own->external().empty()) || root == paths_.end() ? paths_of(nullptr) : root->second;
  entry_.clear();
  for (size_t h = 0; h < hierarchies_.size(); ++h) {
    const std::string& controllers = hierarchies_[h].own.controllers;
    entry_.push_back({controllers.substr(0, controllers.find(',')), paths_[0][h]});
  }
}

void CgroupTree::find_moves(const Plan& plan) {
  for (const PlannedNode& node : plan.nodes) {
    const uint32_t before = node.cloner < 0 ? 0 : sets_[static_cast<size_t>(node.cloner)];
    const uint32_t own = node.kind == PlannedNode::Kind::Task && node.task->cgroup_set() != 0
                             ? node.task->cgroup_set()
                             : before;
    before_.push_back(before);
    sets_.push_back(own);
  }
}

bool CgroupTree::moves(int node) const {
  const auto n = static_cast<size_t>(node);
  return n < sets_.size() && paths_.at(sets_[n]) != paths_.at(before_[n]);
}

void CgroupTree::add_directories(const CheckpointImage& image) {
  const CgroupMounts mounts;
  const auto add = [&](const Hierarchy& hierarchy, const std::string& path,
                       const image::CgroupDirectory* record) {
    Directory& directory = directories_[{hierarchy.own.controllers, path}];
    directory.record = record != nullptr ? record : directory.record;
    if (!directory.directory.empty()) {
      return;
    }
    CgroupMounts::Place place = mounts.find({hierarchy.own.controllers, path});
    if (place.directory.empty()) {
      throw error("cgroup {} of hierarchy '{}' isn't among our mounts", path, hierarchy.own.controllers);
    }
    directory.directory = std::move(place.directory);
    directory.top = std::move(place.top);
  };
  for (size_t h = 0; h < hierarchies_.size(); ++h) {
    const Hierarchy& hierarchy = hierarchies_[h];
    const bool all_here =
        std::ranges::all_of(paths_, [&](const auto& known) { return known.second[h] == hierarchy.own.path; });
    for (const auto& [id, paths] : paths_) {
      if (!all_here) {
        add(hierarchy, paths[h], nullptr);
        directories_.at({hierarchy.own.controllers, paths[h]}).used = true;
      }
    }
    for (const auto* record : image.all<image::CgroupHierarchy>()) {
      if (!is_same(hierarchy.own, record->controllers())) {
        continue;
      }
      for (const image::CgroupDirectory& cgroup : record->cgroups()) {
        add(hierarchy, moved_path(cgroup.path(), hierarchy.top_before, hierarchy.top), &cgroup);
      }
    }
  }
}

void CgroupTree::make() {
  // A path stands before those below it.
  for (auto& [key, directory] : directories_) {
    make(directory);
    if (directory.used) {
      require_not_paused(directory.directory);
    }
  }
}

void CgroupTree::make(Directory& directory) {
  const bool is_root = directory.directory == directory.top;
  const bool exists = ::access(directory.directory.c_str(), F_OK) == 0;
  if (exists || is_root) {
    if (mode_ == CgroupMode::Strict && !is_root) {
      throw error("cgroup {} exists already", directory.directory)
          .hint("remove it, or restore with mode full");
    }
    return;
  }
  if (mode_ == CgroupMode::None || mode_ == CgroupMode::Props) {
    throw error("cgroup {} doesn't exist", directory.directory).hint("make it, or restore with mode soft");
  }
  directory.made = made_.make(directory.directory, directory.top);
  if (directory.record != nullptr) {
    set_owner(directory.directory, *directory.record);
    if (directory.record->threaded()) {
      const std::string file = directory.directory + "/cgroup.type";
      const std::string_view type = "threaded";
      write_all(open_file(file, O_WRONLY).get(), std::as_bytes(std::span(type)), file);
    }
  }
}

void CgroupTree::move(pid_t who, uint32_t from, uint32_t to, bool thread) const {
  const Paths& before = paths_.at(from);
  const Paths& after = paths_.at(to);
  for (size_t h = 0; h < hierarchies_.size(); ++h) {
    if (before[h] != after[h]) {
      const Cgroup& own = hierarchies_[h].own;
      const char* const file = !thread                   ? "cgroup.procs"
                               : own.controllers.empty() ? "cgroup.threads"
                                                         : "tasks";
      move_into_cgroup(directories_.at({own.controllers, after[h]}).directory, who, file);
    }
  }
}

void CgroupTree::move(int node, pid_t pid) const {
  const auto n = static_cast<size_t>(node);
  move(pid, before_[n], sets_[n], false);
}

void CgroupTree::move_threads(const PlannedNode& node) const {
  if (mode_ == CgroupMode::Ignore) {
    return;
  }
  for (const image::Thread& thread : node.now->threads()) {
    if (thread.cgroup_set() != 0) {
      move(thread.tid(0), node.now->cgroup_set(), thread.cgroup_set(), true);
    }
  }
}

}  // namespace godwit
