#include "dump/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string_view>

#include "dump/file_content.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

/// A link that leads to what a descriptor stands for, whatever kind of descriptor and file it is.
std::string link_to(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

std::string read_target(int fd) {
  std::array<char, PATH_MAX> target{};
  const ssize_t length = ::readlinkat(fd, "", target.data(), target.size());
  if (length < 0) {
    throw errno_error("cannot read the link");
  }
  return {target.data(), static_cast<size_t>(length)};
}

void collect_attributes(int fd, image::FileTreeEntry& entry) {
  const std::string path = link_to(fd);
  std::array<char, XATTR_LIST_MAX> names{};
  const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
  if (size < 0 && errno != ENOTSUP) {
    throw errno_error("cannot list the extended attributes");
  }
  std::string_view rest(names.data(), size > 0 ? static_cast<size_t>(size) : 0);
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(name.size() + 1);
    std::string value(XATTR_SIZE_MAX, '\0');
    const ssize_t length = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (length < 0) {
      throw errno_error("cannot read the extended attribute {}", name);
    }
    value.resize(static_cast<size_t>(length));
    image::ExtendedAttribute& attribute = *entry.add_attributes();
    attribute.set_name(name);
    attribute.set_value(value);
  }
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

void FileTreeWriter::write(int root, const std::string& path, image::FileTree& tree) {
  tree_ = &tree;
  ++trees_;
  tree.set_path(path);
  add(root, "", 0);
}

std::string FileTreeWriter::name_for_errors(uint32_t position) const {
  std::string path;
  while (position != 0) {
    const image::FileTreeEntry& entry = tree_->entries(static_cast<int>(position));
    path = "/" + entry.name() + path;
    position = entry.parent();
  }
  return path.empty() ? tree_->path() : tree_->path() == "/" ? path : tree_->path() + path;
}

void FileTreeWriter::add(int directory, const std::string& name, uint32_t parent) {
  check_cancelled();
  const auto position = static_cast<uint32_t>(tree_->entries_size());
  image::FileTreeEntry& entry = *tree_->add_entries();
  entry.set_name(name);
  entry.set_parent(parent);
  const auto about = [&] { return name_for_errors(position); };
  Fd opened;
  struct stat status {};
  with_context(about, [&] {
    opened = name.empty() ? open_at(AT_FDCWD, link_to(directory), O_PATH)
                          : open_at(directory, name, O_PATH | O_NOFOLLOW);
    if (::fstat(opened.get(), &status) != 0) {
      throw errno_error("cannot stat it");
    }
    if (has_other_names(status)) {
      const auto [first, is_new] = linked_.try_emplace(status.st_ino, Place{trees_, position});
      if (!is_new) {
        entry.set_hard_link(first->second.position);
        entry.set_linked_tree(first->second.tree == trees_ ? 0 : first->second.tree);
        return;
      }
    }
    describe(opened.get(), status, entry);
  });
  if (S_ISDIR(status.st_mode)) {
    add_children(opened.get(), position);
  }
}

/// Or may be met again without a name.
bool FileTreeWriter::has_other_names(const struct stat& status) const {
  return !S_ISDIR(status.st_mode) && (status.st_nlink > 1 || removed_.contains(status.st_ino));
}

void FileTreeWriter::describe(int fd, const struct stat& status, image::FileTreeEntry& entry) {
  entry.set_mode(status.st_mode);
  entry.set_uid(status.st_uid);
  entry.set_gid(status.st_gid);
  entry.set_atime_ns(nanoseconds(status.st_atim));
  entry.set_mtime_ns(nanoseconds(status.st_mtim));
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    entry.set_rdev(status.st_rdev);
  } else if (S_ISLNK(status.st_mode)) {
    entry.set_target(read_target(fd));
  } else if (S_ISREG(status.st_mode)) {
    const Fd content = open_file(link_to(fd), O_RDONLY | O_NOATIME);
    entry.set_size(static_cast<uint64_t>(status.st_size));
    entry.set_memory_object(ids_.next());
    writer_.add(write_file_content(content.get(), entry.name(), entry.size(), writer_.pages(),
                                   entry.memory_object()));
  }
  collect_attributes(fd, entry);
}

void FileTreeWriter::add_children(int directory, uint32_t position) {
  Fd readable = open_file(link_to(directory), O_RDONLY | O_DIRECTORY | O_NOATIME);
  const std::unique_ptr<DIR, CloseDirectory> list(::fdopendir(readable.get()));
  if (!list) {
    throw errno_error("cannot read the directory {}", name_for_errors(position));
  }
  const int fd = readable.release();
  for (errno = 0; const dirent* found = ::readdir(list.get()); errno = 0) {
    const std::string name = found->d_name;
    if (name != "." && name != "..") {
      add(fd, name, position);
    }
  }
  if (errno != 0) {
    throw errno_error("cannot read the directory {}", name_for_errors(position));
  }
}

}  // namespace godwit
