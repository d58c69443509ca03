#include "dump/mount.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "dump/file_tree.h"
#include "dump/mount_types.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::string_view kDevpts = "devpts";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

MountCollector::~MountCollector() = default;

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
  const bool can_be_made = find_made_type(mount.type) != nullptr || contains(options_.enable, mount.type);
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

std::string MountCollector::path_outside(dev_t device, const std::string& root) const {
  for (const MountInfo& own : own_) {
    if (own.device != device || own.is_deleted() || !is_below(root, own.root)) {
      continue;
    }
    std::string path = joined_path(own.mount_point, relative_to(root, own.root));
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
  for (auto& known : superblocks_) {
    image::Superblock& record = known.second.record;
    std::set<uint64_t> removed;
    for (const auto& [inode, number] : known.second.removed) {
      removed.insert(inode);
    }
    FileTreeWriter files(writer, ids, std::move(removed));
    for (const Tree& tree : known.second.trees) {
      image::FileTree& files_record = *record.add_trees();
      files_record.set_removed(tree.removed);
      with_context([&] { return fmt::format("a file of {}", record.type()); },
                   [&] { files.write(tree.mount.get(), tree.path, files_record); });
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

}  // namespace godwit
