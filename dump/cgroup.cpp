#include "dump/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "dump/paused_cgroup.h"
#include "kernel/cgroup_property.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

constexpr int kMaxCgroups = 10'000;  // a walk through more would keep the tree waiting for too long

std::string lines_of(const std::string& path) {
  try {
    return read_file(path);
  } catch (const Error& e) {
    if (!procfs::gone(e)) {
      throw;
    }
    return {};  // the freezer will say that it has gone
  }
}

/// Walks through the cgroups of the tree in one hierarchy.
class Walk {
 public:
  struct Wanted {
    bool properties;
    std::string paused;  // directory of the cgroup by which the tree was paused, before it was dumped
  };
  /// `used`: in which tasks of the tree are.
  Walk(const std::set<std::string>& used, const Wanted& wanted, image::CgroupHierarchy& record)
      : used_(used), wanted_(wanted), record_(record) {}

  /// The cgroup and those below it, but for those that have only others' processes in them.
  void add_tree(const std::string& directory, const std::string& path) {
    for (const std::string& name : add(directory, path)) {
      const std::string below = joined_path(path, name);
      const std::string there = directory + "/" + name;
      if (is_of_tree(below) || !has_processes(there)) {
        add_tree(there, below);
      }
    }
  }

  /// Returns the names of those below.
  std::vector<std::string> add(const std::string& directory, const std::string& path) {
    if (record_.cgroups_size() == kMaxCgroups) {
      throw refusal("a tree with more than {} cgroups", kMaxCgroups);
    }
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) {
      throw errno_error("cannot stat {}", directory);
    }
    image::CgroupDirectory& record = *record_.add_cgroups();
    record.set_path(path);
    record.set_mode(status.st_mode & 07777);
    record.set_uid(status.st_uid);
    record.set_gid(status.st_gid);
    const bool unified = record_.controllers().empty();
    record.set_threaded(unified && read_file(directory + "/cgroup.type") == "threaded\n");
    std::vector<std::string> below;
    std::set<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.is_directory()) {
        below.push_back(entry.path().filename());
      } else {
        files.insert(entry.path().filename());
      }
    }
    std::ranges::sort(below);
    for (const std::string& file : files) {
      const CgroupProperty* property = find_cgroup_property(file, unified);
      if (property != nullptr || is_cgroup_delegation_file(file)) {
        add_owner(directory, file, record);
      }
      if (property != nullptr && wanted_.properties) {
        add_property(directory, file, *property, record);
      }
    }
    return below;
  }

 private:
  [[nodiscard]] bool is_of_tree(const std::string& path) const {
    return std::ranges::any_of(used_, [&](const std::string& used) { return is_below(used, path); });
  }

  static void add_owner(const std::string& directory, const std::string& file,
                        image::CgroupDirectory& record) {
    struct stat status {};
    const std::string path = directory + "/" + file;
    if (::stat(path.c_str(), &status) != 0) {
      throw errno_error("cannot stat {}", path);
    }
    const bool usual = (status.st_mode & 0777) == 0644 || (status.st_mode & 0777) == 0444;
    if (status.st_uid != 0 || status.st_gid != 0 || !usual) {
      image::CgroupFileOwner& owner = *record.add_owners();
      owner.set_file(file);
      owner.set_mode(status.st_mode & 0777);
      owner.set_uid(status.st_uid);
      owner.set_gid(status.st_gid);
    }
  }

  void add_property(const std::string& directory, const std::string& file, const CgroupProperty& property,
                    image::CgroupDirectory& record) const {
    std::optional<std::string> value = read_cgroup_property(directory, file, property);
    if (!value) {
      return;
    }
    if (property.when == CgroupProperty::When::Last && directory == wanted_.paused) {
      value = property.form == CgroupProperty::Form::Freezer ? "FROZEN" : "1";
    }
    image::CgroupValue& found = *record.add_properties();
    found.set_file(file);
    found.set_value(*value);
  }

  /// Version 2 tells processes only where whole ones can be.
  static bool has_processes(const std::string& directory) {
    for (const char* name : {"/cgroup.procs", "/cgroup.threads"}) {
      const Fd file(::open((directory + name).c_str(), O_RDONLY | O_CLOEXEC));
      char first = 0;
      if (const ssize_t got = file ? ::read(file.get(), &first, 1) : -1; got >= 0) {
        return got > 0;
      }
    }
    return false;
  }

  const std::set<std::string>& used_;
  const Wanted& wanted_;
  image::CgroupHierarchy& record_;
};

}  // namespace

std::string cgroup_namespace_root(const std::string& path, const std::string& inside) {
  if (inside == "/") {
    return path;
  }
  if (inside.starts_with("/..") || !path.ends_with(inside)) {
    throw refusal("a cgroup namespace whose root isn't above cgroup {} ({} inside)", path, inside);
  }
  const std::string root = path.substr(0, path.size() - inside.size());
  return root.empty() ? "/" : root;
}

CgroupCollector::CgroupCollector(CgroupMode mode, pid_t root)
    : mode_(mode), root_(lines_of(fmt::format("/proc/{}/cgroup", root))) {}

uint32_t CgroupCollector::set_of(const std::string& lines) {
  const auto next = static_cast<uint32_t>(sets_.size() + 1);
  return sets_.emplace(lines, next).first->second;
}

void CgroupCollector::collect(TaskState& task) {
  const bool is_root = task.parent == nullptr;
  // Where it matters little, the root isn't looked at a second time while it stands still.
  const std::string lines =
      is_root && mode_ == CgroupMode::Ignore ? root_ : lines_of(fmt::format("/proc/{}/cgroup", task.pid()));
  if (is_root) {
    root_ = lines;
  } else if (lines != root_ && PausedCgroup(task.pid())) {
    throw refusal("task {} in a paused cgroup that isn't the root's", task.pid());
  }
  task.record.set_cgroup_set(set_of(lines));
  if (mode_ == CgroupMode::Ignore) {
    return;
  }
  for (const ThreadState& thread : task.threads) {
    if (thread.tid != task.pid()) {
      const std::string its = lines_of(fmt::format("/proc/{}/task/{}/cgroup", task.pid(), thread.tid));
      thread.record->set_cgroup_set(its == lines ? 0 : set_of(its));
    }
  }
}

void CgroupCollector::collect_cgroups(const std::string& inside, const std::string& paused) {
  if (mode_ == CgroupMode::Ignore) {
    return;
  }
  const CgroupMounts mounts;
  const std::vector<Cgroup> names_inside = parse_cgroups(inside);
  for (const Cgroup& cgroup : parse_cgroups(root_)) {
    std::string top = cgroup.path;
    for (const Cgroup& its : names_inside) {
      if (its.controllers == cgroup.controllers) {
        top = cgroup_namespace_root(cgroup.path, its.path);
      }
    }
    collect_hierarchy(mounts, cgroup, top, paused);
  }
}

void CgroupCollector::collect_hierarchy(const CgroupMounts& mounts, const Cgroup& root,
                                        const std::string& top, const std::string& paused) {
  std::set<std::string> used;
  for (const auto& [lines, id] : sets_) {
    for (const Cgroup& cgroup : parse_cgroups(lines)) {
      if (cgroup.controllers == root.controllers) {
        used.insert(cgroup.path);
      }
    }
  }
  image::CgroupHierarchy& record = found_.emplace_back();
  record.set_controllers(root.controllers);
  record.set_top(top);
  const Walk::Wanted wanted{.properties = mode_ != CgroupMode::None, .paused = paused};
  Walk walk(used, wanted, record);
  const auto directory_of = [&](const std::string& path) {
    const CgroupMounts::Place place = mounts.find({root.controllers, path});
    if (place.directory.empty()) {
      throw error("cgroup {} of hierarchy '{}' isn't among our mounts", path, root.controllers)
          .hint("--manage-cgroups=ignore leaves cgroups alone");
    }
    return place.directory;
  };
  // What is below the root of a hierarchy is everybody's.
  const bool own = top != "/";
  if (own) {
    walk.add_tree(directory_of(top), top);
  }
  for (const std::string& path : used) {
    if (path != "/" && !(own && is_below(path, top))) {
      walk.add(directory_of(path), path);
    }
  }
}

void CgroupCollector::write(CheckpointWriter& writer) const {
  for (const auto& [lines, id] : sets_) {
    image::CgroupSet record;
    record.set_id(id);
    for (const Cgroup& cgroup : parse_cgroups(lines)) {
      image::CgroupPlace& place = *record.add_places();
      place.set_controllers(cgroup.controllers);
      place.set_path(cgroup.path);
    }
    writer.add(record);
  }
  for (const image::CgroupHierarchy& record : found_) {
    writer.add(record);
  }
}

}  // namespace godwit
