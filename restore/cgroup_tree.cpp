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

void set_owner(const std::string& path, uint32_t uid, uint32_t gid, uint32_t mode) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw errno_error("cannot stat {}", path);
  }
  if ((status.st_uid != uid || status.st_gid != gid) && ::chown(path.c_str(), uid, gid) != 0) {
    throw errno_error("cannot give {} to user {}", path, uid);
  }
  if ((status.st_mode & 07777) != mode && ::chmod(path.c_str(), mode) != 0) {
    throw errno_error("cannot set the mode of {}", path);
  }
}

/// Of a new cgroup.
void furnish(const std::string& directory, const image::CgroupDirectory& record) {
  set_owner(directory, record.uid(), record.gid(), record.mode());
  if (record.threaded()) {
    const std::string file = directory + "/cgroup.type";
    const std::string_view type = "threaded";
    write_all(open_file(file, O_WRONLY).get(), std::as_bytes(std::span(type)), file);
  }
}

void set_file_owners(const std::string& directory, const image::CgroupDirectory& record) {
  for (const image::CgroupFileOwner& owner : record.owners()) {
    const std::string file = directory + "/" + owner.file();
    if (::access(file.c_str(), F_OK) == 0) {
      set_owner(file, owner.uid(), owner.gid(), owner.mode());
    }
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
    hierarchy.late = hierarchy.own.has("devices");
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
    directory.hierarchy = &hierarchy;
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
    const bool is_entry =
        key.second == paths_.at(0)[static_cast<size_t>(directory.hierarchy - hierarchies_.data())];
    if (!directory.hierarchy->late || is_entry) {
      make(directory, CgroupProperties::When::Entering);
    }
    if (directory.used) {
      require_not_paused(directory.directory);
    }
  }
}

void CgroupTree::make(Directory& directory, CgroupProperties::When until) {
  const bool is_root = directory.directory == directory.top;
  const bool exists = ::access(directory.directory.c_str(), F_OK) == 0;
  if (exists && !is_root && mode_ == CgroupMode::Strict) {
    throw error("cgroup {} exists already", directory.directory).hint("remove it, or restore with mode full");
  }
  if (!exists) {
    if (mode_ == CgroupMode::None || mode_ == CgroupMode::Props) {
      throw error("cgroup {} doesn't exist", directory.directory).hint("make it, or restore with mode soft");
    }
    made_.make(directory.directory, directory.top);
  }
  directory.done = true;
  if (directory.record == nullptr || is_root) {
    return;
  }
  if (!exists) {
    furnish(directory.directory, *directory.record);
    directory.made = true;
  }
  if (!exists || mode_ == CgroupMode::Props || mode_ == CgroupMode::Full) {
    properties_.add(directory.directory, *directory.record, directory.hierarchy->own.controllers.empty(),
                    !exists, until);
  }
}

void CgroupTree::finish(const Plan& plan) {
  if (mode_ == CgroupMode::Ignore) {
    return;
  }
  // A list of devices can't be made while cgroups are below.
  properties_.try_all(CgroupProperties::When::Late);
  for (auto& [key, directory] : directories_) {
    if (!directory.done) {
      make(directory, CgroupProperties::When::Late);
    }
  }
  for (size_t h = 0; h < hierarchies_.size(); ++h) {
    if (hierarchies_[h].late) {
      move_late(plan, h);
    }
  }
  properties_.set_all();
  for (const auto& [key, directory] : directories_) {
    if (directory.made) {
      set_file_owners(directory.directory, *directory.record);
    }
  }
}

void CgroupTree::move_late(const Plan& plan, size_t h) const {
  const std::string& entry = paths_.at(0)[h];
  for (size_t n = 0; n < plan.nodes.size(); ++n) {
    if (plan.nodes[n].kind != PlannedNode::Kind::Task) {
      continue;
    }
    const std::string& path = paths_.at(sets_[n])[h];
    if (path != entry) {
      enter(plan.nodes[n].pid, false, hierarchies_[h], path);
    }
    for (const image::Thread& thread : plan.nodes[n].now->threads()) {
      const std::string& its = thread.cgroup_set() == 0 ? path : paths_.at(thread.cgroup_set())[h];
      if (its != path) {
        enter(thread.tid(0), true, hierarchies_[h], its);
      }
    }
  }
}

void CgroupTree::enter(pid_t who, bool thread, const Hierarchy& hierarchy, const std::string& path) const {
  const std::string& controllers = hierarchy.own.controllers;
  const char* const file = !thread ? "cgroup.procs" : controllers.empty() ? "cgroup.threads" : "tasks";
  move_into_cgroup(directories_.at({controllers, path}).directory, who, file);
}

void CgroupTree::move(pid_t who, uint32_t from, uint32_t to, bool thread) const {
  const Paths& before = paths_.at(from);
  const Paths& after = paths_.at(to);
  for (size_t h = 0; h < hierarchies_.size(); ++h) {
    if (before[h] != after[h] && !hierarchies_[h].late) {
      enter(who, thread, hierarchies_[h], after[h]);
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
