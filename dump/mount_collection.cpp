// One mount namespace: its mounts, and where each comes from.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "dump/mount.h"
#include "dump/mount_order.h"
#include "dump/mount_types.h"
#include "dump/mount_view.h"
#include "kernel/error.h"

namespace godwit {

namespace {

std::string name_of(const MountInfo& mount) {
  return fmt::format("mount point {} ({})", mount.mount_point, mount.type);
}

/// Documentation/admin-guide/devices.txt: slaves of Unix98 pseudo terminals.
bool is_terminal(const struct stat& status) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) >= 136 && major(status.st_rdev) <= 143;
}

/// Of a devpts it is its terminals that can be mounted by themselves.
bool must_be_looked_into(const MountInfo& mount) {
  const MountType* type = find_made_type(mount.type);
  return type != nullptr && type->content != MountContent::Kernels &&
         (type->content != MountContent::Terminals || mount.root != "/");
}

bool has_files(const MountInfo& mount) {
  const MountType* type = find_made_type(mount.type);
  return type != nullptr && type->content == MountContent::Files;
}

struct stat status_of(int fd, const MountInfo& mount) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    throw errno_error("cannot stat {}", mount.mount_point);
  }
  return status;
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
    look_inside();
  }

 private:
  /// A mount whose root has no name any more.
  struct Removed {
    const MountInfo* mount;
    image::Mount* record;
  };

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
    record.set_root(mount.former_root());
    Superblock& superblock = collector_.superblock_of(mount);
    record.set_superblock_id(superblock.record.id());
    const auto external = collector_.options_.external.find(mount.mount_point);
    if (external != collector_.options_.external.end() && !is_covered(mount)) {
      record.set_external(external->second);
      external_.insert(mount.id);
      return;
    }
    if (mount.is_deleted()) {
      removed_.push_back({&mount, &record});
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

  /// What has lost its name is made in a directory of the same file system.
  void find_place(const MountInfo& mount, image::Mount& record) {
    const std::string path = mount.former_root();
    const std::string directory = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
    const MountInfo& root = order_->root();
    if (!is_root(mount) && mount.device == root.device && !root.is_deleted()) {
      record.set_bind_of(root.id);
    } else if (std::string place = collector_.path_outside(mount.device, directory); !place.empty()) {
      record.set_host_path(place);
    } else if (const std::string& widest = collector_.superblock_of(mount).record.widest_path();
               !widest.empty()) {
      record.set_host_path(widest);
    } else {
      throw refusal("{}, whose root {} has been removed from a file system that isn't mounted outside,",
                    name_of(mount), mount.root);
    }
  }

  void find_source(const MountInfo& mount, image::Mount& record) {
    if (mount.is_deleted()) {
      find_place(mount, record);
      return;
    }
    if (!is_root(mount) && comes_from(mount, order_->root())) {
      record.set_bind_of(order_->root().id);
      return;
    }
    record.set_host_path(collector_.path_outside(mount.device, mount.root));
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

  /// What is in file systems that are made again, and roots without a name: each looked at through one of its
  /// mounts.
  void look_inside() {
    Shown shown;
    for (const MountInfo* mount : order_->mounts()) {
      if (collector_.superblocks_.at(mount->device).record.origin() == image::Superblock::MADE &&
          !is_external(*mount) && !mount->is_deleted() && must_be_looked_into(*mount)) {
        shown.try_emplace({mount->device, mount->root}, mount);
      }
    }
    // What one tree of files holds needn't be told twice.
    std::erase_if(shown, [&](const auto& one) {
      return has_files(*one.second) && has_wider(shown, one.first.first, one.first.second);
    });
    std::set<uint32_t> wanted;
    for (const auto& [what, mount] : shown) {
      wanted.insert(mount->id);
    }
    for (const Removed& removed : removed_) {
      wanted.insert(removed.mount->id);
    }
    std::map<uint32_t, Fd> copies = detached_copies(space_.get(), *order_, wanted);
    for (const auto& [what, mount] : shown) {
      look_into(*mount, std::move(copies.at(mount->id)));
    }
    for (const Removed& removed : removed_) {
      keep_removed(removed, std::move(copies.at(removed.mount->id)));
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

  void look_into(const MountInfo& mount, Fd copy) {
    Superblock& superblock = collector_.superblocks_.at(mount.device);
    if (has_files(mount)) {
      superblock.trees.push_back({mount.root, std::move(copy)});
    } else if (find_made_type(mount.type)->content == MountContent::Terminals) {
      const struct stat status = status_of(copy.get(), mount);
      if (is_terminal(status)) {  // and not ptmx
        note_terminal(superblock, status);
      }
    } else if (mount.root != "/" || !is_empty_directory(copy.get())) {
      throw refusal("{} with something in it", name_of(mount));
    }
  }

  /// What a mount shows though it has lost its name is a tree of its own.
  void keep_removed(const Removed& removed, Fd copy) {
    const MountInfo& mount = *removed.mount;
    Superblock& superblock = collector_.superblocks_.at(mount.device);
    const bool made = superblock.record.origin() == image::Superblock::MADE;
    const struct stat status = status_of(copy.get(), mount);
    if (made && !has_files(mount)) {
      throw refusal("{}, whose root {} has been removed,", name_of(mount), mount.root);
    }
    if (!made && !S_ISDIR(status.st_mode) && status.st_nlink > 0) {
      throw refusal("{}, whose root {} has lost this name but has others,", name_of(mount), mount.root);
    }
    const auto [known, is_new] = superblock.removed.try_emplace(status.st_ino, superblock.removed.size() + 1);
    if (is_new) {
      superblock.trees.push_back({mount.former_root(), std::move(copy), known->second});
    }
    removed.record->set_removed(known->second);
    collector_.mounted_without_name_[{status.st_dev, status.st_ino}].push_back(mount.mount_point);
  }

  MountCollector& collector_;
  image::MountNamespace& record_;
  Fd space_;
  std::vector<MountInfo> mounts_;
  std::optional<MountOrder> order_;
  std::set<uint32_t> groups_;  // of peers
  std::vector<Removed> removed_;
  std::set<uint32_t> external_;  // ids of those that come from outside by name
};

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

}  // namespace godwit
