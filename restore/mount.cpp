#include "restore/mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <list>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/mount.h"
#include "restore/file_tree.h"
#include "restore/peer_groups.h"
#include "restore/removed_root.h"

namespace godwit {

namespace {

/// Everything is made in a yard: a tmpfs on top of "/", which no path leads to. Each source (a new
/// superblock, the root, what comes from outside) is mounted there once; the mounts of the image are copies
/// of these, private at first, and are put together under the new root by descriptors, never by absolute
/// paths.
class MountBuilder {
 public:
  MountBuilder(const CheckpointImage& image, const image::MountNamespace& space,
               const MountSettings& settings);
  void build();

 private:
  [[nodiscard]] const image::Superblock& superblock(const image::Mount& mount) const;
  [[nodiscard]] std::string name_of(const image::Mount& mount) const;
  [[nodiscard]] const image::Mount& record(uint32_t id) const;
  void make_yard();
  Fd make_wide(const std::vector<const image::Mount*>& mounts);
  [[nodiscard]] const image::Mount& origin(const image::Mount& mount) const;
  Fd outer(const image::Mount& mount);
  [[nodiscard]] static bool has_master(int on_mount);
  void put_into_yard(int mount);
  const Fd& source(const image::Mount& mount, std::string& relative);
  const Fd& removed(const image::Mount& mount);
  void finish_sources();
  Fd copy_of_source(const image::Mount& mount);
  Fd from_outside(const std::string& path);
  Fd make(const image::Superblock& made);
  void fill(int mount, const image::Superblock& made);
  [[nodiscard]] std::string outside_path(const image::Mount& mount) const;
  [[nodiscard]] bool comes_from_outside(const image::Mount& mount) const;
  void make_mount(const image::Mount& mount);
  void change_root();
  void leave_outside();
  void set_flags();

  const CheckpointImage& image_;
  const image::MountNamespace& space_;
  const MountSettings& settings_;
  std::map<uint32_t, const image::Superblock*> superblocks_;
  std::map<uint32_t, const image::Mount*> records_;  // by id
  Fd outside_;                                       // the old root
  Fd yard_;                                          // its root directory
  unsigned yard_entries_ = 0;
  std::map<std::string, Fd> sources_;                    // mounted in the yard, by what they are of
  std::map<uint32_t, int> made_;                         // of these the new superblocks, by id
  std::map<std::pair<uint32_t, uint32_t>, Fd> removed_;  // in the yard, by superblock and tree number
  std::list<RemovedRoot> removed_roots_;
  std::map<uint32_t, Fd> mounts_;  // made, by id
};

MountBuilder::MountBuilder(const CheckpointImage& image, const image::MountNamespace& space,
                           const MountSettings& settings)
    : image_(image), space_(space), settings_(settings) {
  for (const image::Superblock* superblock : image.all<image::Superblock>()) {
    superblocks_[superblock->id()] = superblock;
  }
  for (const image::Mount& mount : space.mounts()) {
    records_[mount.id()] = &mount;
  }
}

const image::Superblock& MountBuilder::superblock(const image::Mount& mount) const {
  return *superblocks_.at(mount.superblock_id());
}

const image::Mount& MountBuilder::record(uint32_t id) const {
  return *records_.at(id);
}

/// That whose source is also this one's.
const image::Mount& MountBuilder::origin(const image::Mount& mount) const {
  return mount.bind_of() != 0 ? record(mount.bind_of()) : mount;
}

std::string MountBuilder::name_of(const image::Mount& mount) const {
  return fmt::format("mount point {} ({})", mount.mount_point(), superblock(mount).type());
}

void MountBuilder::build() {
  outside_ = open_file("/", O_PATH | O_DIRECTORY);
  // Nothing that happens here may reach mounts outside. Slaves stay slaves of those, as mounts from there may
  // be.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    throw errno_error("cannot part the mounts from those outside");
  }
  make_yard();
  for (const image::Mount& mount : space_.mounts()) {
    with_context([&] { return name_of(mount); }, [&] { make_mount(mount); });
  }
  PeerGroups groups(space_, mounts_);
  groups.make_leaders({[&](const auto& mounts) { return make_wide(mounts); },
                       [&](const image::Mount& mount) { return outer(mount); }});
  finish_sources();
  change_root();
  leave_outside();
  // Now that nothing is attached or unmounted any more, which shared mounts would spread.
  groups.set();
  set_flags();
}

/// A detached mount of a source that shows what all of these do.
Fd MountBuilder::make_wide(const std::vector<const image::Mount*>& mounts) {
  const image::Mount& first = *mounts.front();
  const auto shows_all = [&](std::string_view root) {
    return std::ranges::all_of(mounts, [&](const image::Mount* mount) {
      return mount->superblock_id() == first.superblock_id() && is_below(mount->root(), root);
    });
  };
  Fd wide;
  std::string relative;
  for (const image::Mount& mount : space_.mounts()) {
    if (mount.superblock_id() == first.superblock_id() &&
        shows_all(comes_from_outside(mount) ? origin(mount).root() : "/")) {
      wide = clone_mount(source(mount, relative).get(), "");
      break;
    }
  }
  if (!wide) {
    const image::Superblock& from = superblock(first);
    if (from.widest_path().empty() || !shows_all(from.widest_root())) {
      throw error("nothing shows all that is mounted of {} with this propagation", from.type());
    }
    wide = clone_mount(open_file(from.widest_path(), O_PATH).get(), "");
  }
  set_propagation(wide.get(), MS_PRIVATE);
  return wide;
}

/// A detached slave of the mounts outside that the mount's source belongs to; nothing if it is private.
Fd MountBuilder::outer(const image::Mount& mount) {
  if (!comes_from_outside(mount)) {
    return {};
  }
  const Fd there = open_file(outside_path(origin(mount)), O_PATH);
  return has_master(there.get()) ? clone_mount(there.get(), "") : Fd();
}

bool MountBuilder::has_master(int on_mount) {
  const uint64_t id = mount_id_of(on_mount);
  const std::vector<MountInfo> ours = parse_mountinfo(read_file("/proc/thread-self/mountinfo"));
  return std::ranges::any_of(ours,
                             [&](const MountInfo& mount) { return mount.id == id && mount.master != 0; });
}

void MountBuilder::make_yard() {
  const Fd yard = make_superblock("tmpfs", "godwit", {"mode=700"});
  attach_mount(yard.get(), outside_.get());
  yard_ = open_at(yard.get(), ".", O_PATH | O_DIRECTORY);
}

/// Mounts it where only descriptors lead. A file is mounted on a file.
void MountBuilder::put_into_yard(int mount) {
  struct stat status {};
  if (::fstat(mount, &status) != 0) {
    throw errno_error("cannot stat the root of a mount");
  }
  const std::string name = std::to_string(++yard_entries_);
  const int made = S_ISDIR(status.st_mode) ? ::mkdirat(yard_.get(), name.c_str(), 0700)
                                           : ::mknodat(yard_.get(), name.c_str(), S_IFREG | 0600, 0);
  if (made != 0) {
    throw errno_error("cannot make a place for a mount");
  }
  attach_mount(mount, open_at(yard_.get(), name, O_PATH | O_NOFOLLOW).get());
}

bool MountBuilder::comes_from_outside(const image::Mount& mount) const {
  return !mount.external().empty() || superblock(mount).origin() == image::Superblock::OUTSIDE;
}

/// Where the source of a mount from outside lies; empty: nobody says.
std::string MountBuilder::outside_path(const image::Mount& mount) const {
  if (!mount.external().empty()) {
    const auto told = settings_.external.find(mount.external());
    if (told != settings_.external.end()) {
      return told->second;
    }
    throw error("nothing says what to bind for '{}'", mount.external())
        .hint(fmt::format("--external mnt[{}]:PATH does", mount.external()));
  }
  if (mount.parent_id() == 0 && !settings_.root.empty()) {
    return settings_.root;
  }
  return mount.host_path();
}

Fd MountBuilder::from_outside(const std::string& path) {
  const Fd there = open_file(path, O_PATH);
  return clone_mount(there.get(), "");
}

Fd MountBuilder::make(const image::Superblock& made) {
  const std::vector<std::string> options(made.options().begin(), made.options().end());
  return make_superblock(made.type(), made.source(), options);
}

void MountBuilder::fill(int mount, const image::Superblock& made) {
  make_files(mount, made, image_);
  if (settings_.terminals != nullptr) {
    settings_.terminals->make(mount, made);
  }
}

/// The mount in the yard of what has been removed from its file system.
const Fd& MountBuilder::removed(const image::Mount& mount) {
  std::string relative;
  const Fd& there = source(mount, relative);
  const std::pair key{mount.superblock_id(), mount.removed()};
  const auto [found, is_new] = removed_.try_emplace(key);
  if (is_new) {
    set_mount_attributes(there.get(), 0);  // as a source it need not be read-only
    const RemovedRoot& root =
        removed_roots_.emplace_back(there.get(), superblock(mount), mount.removed(), image_);
    found->second = clone_mount(there.get(), root.name());
    put_into_yard(found->second.get());
  }
  return found->second;
}

/// What is done to sources when all that is taken from them has been.
void MountBuilder::finish_sources() {
  for (RemovedRoot& root : removed_roots_) {
    root.remove();
  }
  for (const auto& [id, made] : made_) {
    if (superblocks_.at(id)->read_only()) {
      set_superblock_read_only(made);
    }
  }
}

/// The mount in the yard of which `mount` is a copy; `relative`: where its root is from there.
const Fd& MountBuilder::source(const image::Mount& mount, std::string& relative) {
  const image::Mount& from = origin(mount);
  const bool made = !comes_from_outside(from);
  relative = made ? relative_to(mount.root(), "/") : relative_to(mount.root(), from.root());
  const std::string path = made ? std::string() : outside_path(from);
  if (!made && path.empty()) {
    throw error("nothing says where it is").hint("--root does");
  }
  Fd& there = sources_[made ? fmt::format("superblock {}", mount.superblock_id()) : path];
  if (!there) {
    there = made ? make(superblock(mount)) : from_outside(path);
    put_into_yard(there.get());
    if (made) {
      made_[mount.superblock_id()] = there.get();
      fill(there.get(), superblock(mount));
    }
  }
  return there;
}

Fd MountBuilder::copy_of_source(const image::Mount& mount) {
  if (mount.removed() != 0) {
    return clone_mount(removed(mount).get(), "");
  }
  std::string relative;
  const Fd& there = source(mount, relative);
  return clone_mount(there.get(), relative);
}

void MountBuilder::make_mount(const image::Mount& mount) {
  Fd copy = copy_of_source(mount);
  set_propagation(copy.get(), MS_PRIVATE);
  if (mount.parent_id() == 0) {
    put_into_yard(copy.get());
  } else {
    const image::Mount& parent = record(mount.parent_id());
    const int directory = mounts_.at(mount.parent_id()).get();
    const std::string place = relative_to(mount.mount_point(), parent.mount_point());
    if (place.empty()) {
      attach_mount(copy.get(), directory);
    } else {
      attach_mount(copy.get(), open_within_mount(directory, place).get());
    }
  }
  mounts_[mount.id()] = std::move(copy);
}

void MountBuilder::change_root() {
  const int root = mounts_.at(space_.mounts(0).id()).get();
  // The old root comes to stand on top of the new one, where descriptors still lead to it.
  if (::fchdir(root) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0) {
    throw errno_error("cannot change the root");
  }
}

void MountBuilder::leave_outside() {
  const Fd here = open_file(".", O_PATH | O_DIRECTORY);
  // Unmounting takes what is on top: the yard, and then the old root below it.
  if (::fchdir(outside_.get()) != 0 || ::umount2(".", MNT_DETACH) != 0 || ::umount2(".", MNT_DETACH) != 0 ||
      ::fchdir(here.get()) != 0) {
    throw errno_error("cannot leave the old root");
  }
}

void MountBuilder::set_flags() {
  for (const image::Mount& mount : space_.mounts()) {
    with_context([&] { return name_of(mount); },
                 [&] {
                   const int made = mounts_.at(mount.id()).get();
                   set_mount_attributes(made, mount.attributes());
                   if (mount.unbindable()) {
                     set_propagation(made, MS_UNBINDABLE);
                   }
                 });
  }
}

}  // namespace

void build_mounts(const CheckpointImage& image, const image::MountNamespace& space,
                  const MountSettings& settings) {
  MountBuilder(image, space, settings).build();
}

}  // namespace godwit
