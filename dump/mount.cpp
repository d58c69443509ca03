#include "dump/mount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "dump/file_tree.h"
#include "dump/mount_order.h"
#include "dump/mount_view.h"
#include "dump/support.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::string_view kTmpfs = "tmpfs";
constexpr std::string_view kDevpts = "devpts";

/// File systems that are made anew: the same wherever they are mounted, empty when new, or filled again.
constexpr std::pair<std::string_view, std::string_view> kMade[] = {
    {kTmpfs, "made anew, with all that mounts of the namespace show of it"},
    {"proc", "made anew"},
    {"sysfs", "made anew"},
    {kDevpts, "made anew, with the terminals that tasks have open and whose masters are outside"},
    {"mqueue", "made anew; refused with queues in it"},
    {"cgroup", "made anew"},
    {"cgroup2", "made anew"},
    {"debugfs", "made anew"},
    {"tracefs", "made anew"},
    {"securityfs", "made anew"},
    {"pstore", "made anew"},
    {"configfs", "made anew"},
};

bool is_made(std::string_view type) {
  return std::ranges::any_of(kMade, [&](const auto& made) { return made.first == type; });
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

std::string name_of(const MountInfo& mount) {
  return fmt::format("mount point {} ({})", mount.mount_point, mount.type);
}

/// Documentation/admin-guide/devices.txt: slaves of Unix98 pseudo terminals.
bool is_terminal(const struct stat& status) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) >= 136 && major(status.st_rdev) <= 143;
}

}  // namespace

/// One namespace, while its mounts are looked at.
class MountCollector::Collection {
 public:
  Collection(MountCollector& collector, pid_t pid, image::MountNamespace& record)
      : collector_(collector),
        record_(record),
        space_(open_file(fmt::format("/proc/{}/ns/mnt", pid), O_RDONLY)) {}

  void collect() {
    // The namespace may have no /proc, or one in which this process doesn't exist.
    const Fd proc = open_file("/proc", O_PATH | O_DIRECTORY);
    in_mount_namespace(space_.get(), [&] {
      const Fd file = open_at(proc.get(), "thread-self/mountinfo", O_RDONLY);
      mounts_ = parse_mountinfo(read_all(file.get(), "mountinfo"));
    });
    order_.emplace(mounts_, collector_.options_.skip);
    for (const MountInfo* mount : order_->mounts()) {
      groups_.insert(mount->peer_group);
    }
    for (const MountInfo* mount : order_->mounts()) {
      describe(*mount);
    }
    look_into_what_is_made();
  }

 private:
  [[nodiscard]] bool is_root(const MountInfo& mount) const { return &mount == &order_->root(); }

  void describe(const MountInfo& mount) {
    if (mount.idmapped) {
      throw refusal("{}, which maps ids,", name_of(mount));
    }
    image::Mount& record = *record_.add_mounts();
    record.set_id(mount.id);
    record.set_parent_id(is_root(mount) ? 0 : mount.parent_id);
    record.set_mount_point(mount.mount_point);
    record.set_attributes(mount.attributes);
    record.set_peer_group(mount.peer_group);
    record.set_master(mount.master);
    record.set_unbindable(mount.unbindable);
    record.set_root(mount.root);
    Superblock& superblock = collector_.superblock_of(mount);
    record.set_superblock_id(superblock.record.id());
    const auto external = collector_.options_.external.find(mount.mount_point);
    if (external != collector_.options_.external.end() && !is_covered(mount)) {
      record.set_external(external->second);
      external_.insert(mount.id);
      return;
    }
    if (mount.is_deleted()) {
      throw refusal("{}, whose root {} has been removed,", name_of(mount), mount.root);
    }
    refuse_sharing(mount);
    if (superblock.record.origin() == image::Superblock::OUTSIDE) {
      find_source(mount, record);
    } else {
      refuse_master_outside(mount);
    }
  }

  /// Whether another mount stands on the very same place.
  [[nodiscard]] bool is_covered(const MountInfo& mount) const {
    return std::ranges::any_of(order_->children(mount), [&](const MountInfo* other) {
      return other->mount_point == mount.mount_point;
    });
  }

  void refuse_sharing(const MountInfo& mount) const {
    if (mount.peer_group != 0 && std::ranges::any_of(collector_.own_, [&](const MountInfo& own) {
          return own.peer_group == mount.peer_group;
        })) {
      throw refusal("{}, which is shared with mounts outside (peer group {}),", name_of(mount),
                    mount.peer_group);
    }
  }

  /// What is made anew has no mount outside that it could be the slave of.
  void refuse_master_outside(const MountInfo& mount) const {
    if (mount.master != 0 && !groups_.contains(mount.master)) {
      throw refusal("{}, the slave of mounts outside (peer group {}),", name_of(mount), mount.master);
    }
  }

  void find_source(const MountInfo& mount, image::Mount& record) {
    if (!is_root(mount) && comes_from(mount, order_->root())) {
      record.set_bind_of(order_->root().id);
      return;
    }
    record.set_host_path(collector_.path_outside(mount));
    if (!record.host_path().empty() || is_root(mount)) {
      return;
    }
    for (const MountInfo* other : order_->mounts()) {
      if (collector_.options_.external.contains(other->mount_point) && comes_from(mount, *other)) {
        record.set_bind_of(other->id);
        return;
      }
    }
    throw refusal("{}, a file system that isn't mounted outside,", name_of(mount))
        .hint("--external mnt[" + mount.mount_point +
              "]:NAME takes it from a place that the restore is told");
  }

  static bool comes_from(const MountInfo& mount, const MountInfo& source) {
    return mount.device == source.device && is_below(mount.root, source.root);
  }

  [[nodiscard]] bool is_external(const MountInfo& mount) const { return external_.contains(mount.id); }

  /// What is in file systems that are made again, each looked at through one of its mounts.
  void look_into_what_is_made() {
    Shown shown;
    for (const MountInfo* mount : order_->mounts()) {
      if (collector_.superblocks_.at(mount->device).record.origin() == image::Superblock::MADE &&
          !is_external(*mount) && has_content(*mount)) {
        shown.try_emplace({mount->device, mount->root}, mount);
      }
    }
    // What one tree of files holds needn't be told twice.
    std::erase_if(shown, [&](const auto& one) {
      return one.second->type == kTmpfs && has_wider(shown, one.first.first, one.first.second);
    });
    std::set<uint32_t> wanted;
    for (const auto& [what, mount] : shown) {
      wanted.insert(mount->id);
    }
    std::map<uint32_t, Fd> copies = detached_copies(space_.get(), *order_, wanted);
    for (const auto& [what, mount] : shown) {
      look_into(*mount, std::move(copies.at(mount->id)));
    }
  }

  using Shown = std::map<std::pair<dev_t, std::string>, const MountInfo*>;  // by device and root

  static bool has_wider(const Shown& shown, dev_t device, std::string root) {
    while (root != "/") {
      root.resize(std::max<size_t>(root.rfind('/'), 1));
      if (shown.contains({device, root})) {
        return true;
      }
    }
    return false;
  }

  /// Of a devpts it is its terminals that can be mounted by themselves.
  static bool has_content(const MountInfo& mount) {
    return mount.type == kTmpfs || mount.type == "mqueue" || (mount.type == kDevpts && mount.root != "/");
  }

  void look_into(const MountInfo& mount, Fd copy) {
    Superblock& superblock = collector_.superblocks_.at(mount.device);
    if (mount.type == kTmpfs) {
      superblock.trees.push_back({mount.root, std::move(copy)});
    } else if (mount.type == kDevpts) {
      struct stat status {};
      if (::fstat(copy.get(), &status) != 0) {
        throw errno_error("cannot stat {}", mount.mount_point);
      }
      if (is_terminal(status)) {  // and not ptmx
        note_terminal(superblock, status);
      }
    } else if (!is_empty_directory(copy.get())) {
      throw refusal("{} with message queues in it", name_of(mount));
    }
  }

  MountCollector& collector_;
  image::MountNamespace& record_;
  Fd space_;
  std::vector<MountInfo> mounts_;
  std::optional<MountOrder> order_;
  std::set<uint32_t> groups_;    // of peers
  std::set<uint32_t> external_;  // ids of those that come from outside by name
};

MountCollector::~MountCollector() = default;

const image::MountNamespace& MountCollector::collect(pid_t pid) {
  struct stat status {};
  const std::string link = fmt::format("/proc/{}/ns/mnt", pid);
  if (::stat(link.c_str(), &status) != 0) {
    throw errno_error("cannot stat {}", link);
  }
  const auto [known, is_new] = namespaces_.try_emplace(status.st_ino);
  if (is_new) {
    if (own_.empty()) {
      own_ = parse_mountinfo(read_file("/proc/self/mountinfo"));
      own_root_ = open_file("/", O_PATH | O_DIRECTORY);
    }
    known->second.set_id(status.st_ino);
    Collection(*this, pid, known->second).collect();
  }
  return known->second;
}

Fd MountCollector::root_of(pid_t pid) {
  const Fd space = open_file(fmt::format("/proc/{}/ns/mnt", pid), O_RDONLY);
  Fd root;
  in_mount_namespace(space.get(), [&] { root = open_file("/", O_PATH | O_DIRECTORY); });
  return root;
}

MountCollector::Superblock& MountCollector::superblock_of(const MountInfo& mount) {
  const auto [known, is_new] = superblocks_.try_emplace(mount.device);
  image::Superblock& record = known->second.record;
  if (is_new) {
    record.set_id(static_cast<uint32_t>(superblocks_.size()));
    record.set_device(mount.device);
    record.set_type(mount.type);
    record.set_source(mount.source);
    record.mutable_options()->Assign(mount.options.begin(), mount.options.end());
    record.set_read_only(mount.read_only);
    record.set_origin(is_outside(mount) ? image::Superblock::OUTSIDE : image::Superblock::MADE);
    if (record.origin() == image::Superblock::OUTSIDE) {
      set_widest(mount.device, record);
    }
  }
  return known->second;
}

bool MountCollector::is_outside(const MountInfo& mount) const {
  const bool can_be_made = is_made(mount.type) || contains(options_.enable, mount.type);
  return !can_be_made ||
         std::ranges::any_of(own_, [&](const MountInfo& own) { return own.device == mount.device; });
}

/// Whether a path (of ours; the calling thread may be in another namespace) leads to one of our mounts.
bool MountCollector::leads_to(const std::string& path, const MountInfo& own) const {
  const Fd there(::openat(own_root_.get(), joined_path(".", relative_to(path, "/")).c_str(),
                          O_PATH | O_NOFOLLOW | O_CLOEXEC));
  return there && mount_id_of(there.get()) == own.id;
}

void MountCollector::set_widest(dev_t device, image::Superblock& record) const {
  for (const MountInfo& own : own_) {
    if (own.device == device && !own.is_deleted() &&
        (record.widest_path().empty() || own.root.size() < record.widest_root().size()) &&
        leads_to(own.mount_point, own)) {
      record.set_widest_path(own.mount_point);
      record.set_widest_root(own.root);
    }
  }
}

/// Under which path this process sees what the mount has for its root; empty: it doesn't.
std::string MountCollector::path_outside(const MountInfo& mount) const {
  for (const MountInfo& own : own_) {
    if (own.device != mount.device || own.is_deleted() || !is_below(mount.root, own.root)) {
      continue;
    }
    std::string path = joined_path(own.mount_point, relative_to(mount.root, own.root));
    if (leads_to(path, own)) {
      return path;
    }
  }
  return {};
}

void MountCollector::note_terminal(Superblock& superblock, const struct stat& terminal) {
  image::Terminal& record = superblock.terminals[minor(terminal.st_rdev)];
  record.set_index(minor(terminal.st_rdev));
  record.set_uid(terminal.st_uid);
  record.set_gid(terminal.st_gid);
  record.set_mode(terminal.st_mode & 07777);
}

std::string MountCollector::use_terminal(const struct stat& terminal, int root_directory) {
  const auto superblock = superblocks_.find(terminal.st_dev);
  if (superblock == superblocks_.end() || superblock->second.record.type() != kDevpts ||
      superblock->second.record.origin() != image::Superblock::MADE) {
    return {};
  }
  const std::string name = "/" + std::to_string(minor(terminal.st_rdev));
  for (const auto& [id, space] : namespaces_) {
    for (const image::Mount& mount : space.mounts()) {
      if (mount.superblock_id() != superblock->second.record.id() || !is_below(name, mount.root())) {
        continue;
      }
      std::string path = joined_path(mount.mount_point(), relative_to(name, mount.root()));
      const Fd found = open_in_root(root_directory, path);
      struct stat status {};
      if (found && ::fstat(found.get(), &status) == 0 && status.st_dev == terminal.st_dev &&
          status.st_ino == terminal.st_ino) {
        note_terminal(superblock->second, terminal);
        superblock->second.terminals.at(minor(terminal.st_rdev)).set_used(true);
        return path;
      }
    }
  }
  return {};
}

void MountCollector::write(CheckpointWriter& writer, MemoryObjectIds& ids) {
  FileTreeWriter files(writer, ids);
  for (auto& known : superblocks_) {
    image::Superblock& record = known.second.record;
    for (const Tree& tree : known.second.trees) {
      with_context([&] { return fmt::format("a file of {}", record.type()); },
                   [&] { files.write(tree.mount.get(), tree.path, *record.add_trees()); });
    }
    for (const auto& [index, terminal] : known.second.terminals) {
      *record.add_terminals() = terminal;
    }
    writer.add(record);
  }
  for (const auto& [id, space] : namespaces_) {
    writer.add(space);
  }
}

std::vector<SupportRow> mount_support() {
  using enum SupportRow::Fate;
  std::vector<SupportRow> rows;
  for (const auto& [type, words] : kMade) {
    rows.push_back({type, Kept, words});
  }
  rows.push_back({"any that is mounted outside", Kept,
                  "taken from there: by the name that the dump was told (--external "
                  "mnt[PLACE]), else by its path"});
  rows.push_back({"any other", Refused, "it could only be made again empty, which --enable-fs asks for"});
  return rows;
}

}  // namespace godwit
