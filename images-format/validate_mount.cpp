#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <set>
#include <string>

#include "images-format/validate_index.h"
#include "kernel/mount.h"

namespace godwit {

namespace {

constexpr uint64_t kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                 MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME |
                                 MOUNT_ATTR_NOSYMFOLLOW;
constexpr uint32_t kMaxTerminal = 4095;  // NR_UNIX98_PTY_DEFAULT
constexpr size_t kMaxTypeName = 64;
constexpr size_t kMaxOptionBytes = 4096;
constexpr size_t kMaxAttributeBytes = 65536;  // XATTR_SIZE_MAX

bool has_zero(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= NAME_MAX && name != "." && name != ".." && !has_zero(name) &&
         name.find('/') == std::string_view::npos;
}

/// "/" or "/a/b": no "..", nothing empty.
bool is_plain_path(std::string_view path) {
  if (!path.starts_with('/') || path.size() >= PATH_MAX) {
    return false;
  }
  path.remove_prefix(1);
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    if (!is_name(path.substr(0, end)) || end + 1 == path.size()) {
      return false;
    }
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return true;
}

using Mounts = std::map<uint32_t, const image::Mount*>;  // by id

/// A root that has been removed.
void validate_removed(const image::Mount& mount, const image::Superblock& superblock) {
  require(std::ranges::any_of(superblock.trees(),
                              [&](const image::FileTree& tree) {
                                return tree.removed() == mount.removed() && tree.path() == mount.root();
                              }),
          "its root, which has been removed, isn't there");
}

void validate_source(const image::Mount& mount, const Mounts& all, const ValidationIndex& index) {
  const auto superblock = index.superblocks.find(mount.superblock_id());
  require(superblock != index.superblocks.end(), "superblock {} isn't there", mount.superblock_id());
  require(is_plain_path(mount.root()), "its root isn't an absolute path");
  if (mount.bind_of() != 0) {
    const auto source = all.find(mount.bind_of());
    require(source != all.end() && source->second->bind_of() == 0 &&
                source->second->superblock_id() == mount.superblock_id() && source->second->removed() == 0 &&
                (mount.removed() != 0 || is_below(mount.root(), source->second->root())),
            "it can't be a bind of mount {}", mount.bind_of());
  }
  if (mount.removed() != 0) {
    validate_removed(mount, *superblock->second);
  }
  require(mount.external().size() < PATH_MAX && !has_zero(mount.external()),
          "its external name is impossible");
  require(mount.host_path().empty() || is_plain_path(mount.host_path()), "its path outside is impossible");
  require(superblock->second->origin() == image::Superblock::MADE || mount.bind_of() != 0 ||
              !mount.external().empty() || !mount.host_path().empty() || mount.parent_id() == 0,
          "nothing says where it comes from");
}

void validate_place(const image::Mount& mount, const Mounts& before) {
  require(mount.id() != 0 && !before.contains(mount.id()), "its number is there twice, or 0");
  require(is_plain_path(mount.mount_point()), "its mount point isn't an absolute path");
  require((mount.attributes() & ~kAttributes) == 0, "flags {:#x}", mount.attributes());
  if (before.empty()) {
    require(mount.parent_id() == 0 && mount.mount_point() == "/", "the first must be the root");
    return;
  }
  const auto parent = before.find(mount.parent_id());
  require(parent != before.end(), "its parent {} doesn't stand in front of it", mount.parent_id());
  require(is_below(mount.mount_point(), parent->second->mount_point()), "it isn't below its parent");
}

void validate_namespace(const image::MountNamespace& space, const ValidationIndex& index) {
  require(space.mounts_size() > 0, "it has no mounts");
  Mounts mounts;
  const auto about = [](const image::Mount& mount) {
    return [&] { return fmt::format("mount {} at {}", mount.id(), mount.mount_point()); };
  };
  for (const image::Mount& mount : space.mounts()) {
    with_context(about(mount), [&] { validate_place(mount, mounts); });
    mounts.emplace(mount.id(), &mount);
  }
  for (const image::Mount& mount : space.mounts()) {
    with_context(about(mount), [&] { validate_source(mount, mounts, index); });
  }
}

void validate_content(const image::FileTreeEntry& entry) {
  const uint32_t type = entry.mode() & S_IFMT;
  constexpr std::array<uint32_t, 7> kTypes = {S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK};
  require(std::ranges::find(kTypes, type) != kTypes.end() && (entry.mode() & ~(S_IFMT | 07777U)) == 0,
          "mode {:o}", entry.mode());
  require((type == S_IFREG) == (entry.memory_object() != 0), "its content contradicts its type");
  require(entry.size() <= INT64_MAX, "a size of {} bytes", entry.size());
  require(type == S_IFLNK
              ? !entry.target().empty() && entry.target().size() < PATH_MAX && !has_zero(entry.target())
              : entry.target().empty(),
          "its target is impossible");
  for (const image::ExtendedAttribute& attribute : entry.attributes()) {
    require(!attribute.name().empty() && attribute.name().size() <= NAME_MAX && !has_zero(attribute.name()) &&
                attribute.value().size() <= kMaxAttributeBytes,
            "an attribute is impossible");
  }
}

void validate_link(const image::Superblock& superblock, int number, int position) {
  const image::FileTreeEntry& entry = superblock.trees(number).entries(position);
  const auto linked = static_cast<uint32_t>(number) + 1;
  require(entry.linked_tree() < linked, "what it links to isn't in front");
  const image::FileTree& tree =
      superblock.trees(entry.linked_tree() == 0 ? number : static_cast<int>(entry.linked_tree()) - 1);
  require(
      entry.hard_link() < static_cast<uint32_t>(entry.linked_tree() == 0 ? position : tree.entries_size()),
      "what it links to isn't in front");
  const image::FileTreeEntry& other = tree.entries(static_cast<int>(entry.hard_link()));
  require(other.hard_link() == 0 && other.linked_tree() == 0 && !S_ISDIR(other.mode()) &&
              (entry.linked_tree() == 0 || tree.removed() == 0),
          "what it links to can't have two names");
  require(entry.mode() == 0 && entry.memory_object() == 0, "it is a link and something else");
}

void validate_entry(const image::Superblock& superblock, int number, int position) {
  const image::FileTree& tree = superblock.trees(number);
  const image::FileTreeEntry& entry = tree.entries(position);
  if (position > 0) {
    require(is_name(entry.name()), "its name is impossible");
    require(entry.parent() < static_cast<uint32_t>(position) &&
                S_ISDIR(tree.entries(static_cast<int>(entry.parent())).mode()),
            "its directory doesn't stand in front of it");
  }
  if (entry.hard_link() == 0 && entry.linked_tree() == 0) {
    validate_content(entry);
  } else {
    validate_link(superblock, number, position);
  }
}

void validate_tree(const image::Superblock& superblock, int number) {
  const image::FileTree& tree = superblock.trees(number);
  require(is_plain_path(tree.path()) && tree.entries_size() > 0, "a tree of files is impossible");
  if (tree.removed() == 0) {
    require(superblock.origin() == image::Superblock::MADE, "files of what is outside");
    require(std::ranges::none_of(superblock.trees(),
                                 [&](const image::FileTree& other) {
                                   return &other != &tree && other.removed() == 0 &&
                                          is_below(tree.path(), other.path());
                                 }),
            "the tree of files at {} is part of another", tree.path());
  } else {
    require(tree.path() != "/" && tree.entries_size() == 1 &&
                (superblock.origin() == image::Superblock::MADE || tree.entries(0).linked_tree() == 0),
            "what has been removed is impossible");
    require(std::ranges::none_of(superblock.trees(),
                                 [&](const image::FileTree& other) {
                                   return &other != &tree && other.removed() == tree.removed();
                                 }),
            "what has been removed is there twice");
  }
  for (int i = 0; i < tree.entries_size(); ++i) {
    with_context([&] { return fmt::format("file {}", tree.entries(i).name()); },
                 [&] { validate_entry(superblock, number, i); });
  }
}

bool has_files(std::string_view type) {
  return type == "tmpfs" || type == "ramfs";
}

void validate_superblock(const image::Superblock& superblock) {
  const std::string& type = superblock.type();
  require(!type.empty() && type.size() <= kMaxTypeName && !has_zero(type), "its type is impossible");
  require(image::Superblock::Origin_IsValid(superblock.origin()), "its origin is unknown");
  require(superblock.source().size() <= kMaxOptionBytes && !has_zero(superblock.source()),
          "its source is impossible");
  require(superblock.widest_path().empty() ||
              (superblock.origin() == image::Superblock::OUTSIDE && is_plain_path(superblock.widest_path()) &&
               is_plain_path(superblock.widest_root())),
          "its place outside is impossible");
  for (const std::string& option : superblock.options()) {
    require(!option.empty() && option.front() != '=' && option.size() <= kMaxOptionBytes && !has_zero(option),
            "an option is impossible");
  }
  require(
      superblock.terminals().empty() || (superblock.origin() == image::Superblock::MADE && type == "devpts"),
      "terminals of what isn't a devpts");
  for (int i = 0; i < superblock.terminals_size(); ++i) {
    const image::Terminal& terminal = superblock.terminals(i);
    require(terminal.index() <= kMaxTerminal &&
                (i == 0 || superblock.terminals(i - 1).index() < terminal.index()) &&
                (terminal.mode() & ~07777U) == 0,
            "terminal {} is impossible", terminal.index());
  }
  require(superblock.trees().empty() || superblock.origin() == image::Superblock::OUTSIDE || has_files(type),
          "files of what has none");
  for (int i = 0; i < superblock.trees_size(); ++i) {
    validate_tree(superblock, i);
  }
}

}  // namespace

void validate_mounts(const ValidationIndex& index) {
  for (const auto& [id, superblock] : index.superblocks) {
    with_context([id = id] { return fmt::format("superblock {}", id); },
                 [&, s = superblock] { validate_superblock(*s); });
  }
  for (const auto& [id, space] : index.mount_namespaces) {
    with_context([id = id] { return fmt::format("mount namespace {}", id); },
                 [&, s = space] { validate_namespace(*s, index); });
  }
}

}  // namespace godwit
