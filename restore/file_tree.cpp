#include "restore/file_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/mount.h"
#include "restore/file_content.h"

namespace godwit {

namespace {

void check(int result, const char* doing) {
  if (result != 0) {
    throw errno_error("cannot {}", doing);
  }
}

/// From the root of the superblock.
std::string base_of(const image::FileTree& tree) {
  std::string base = relative_to(tree.path(), "/");
  return base.empty() ? "." : base;
}

bool is_link(const image::FileTreeEntry& entry) {
  return entry.hard_link() != 0 || entry.linked_tree() != 0;
}

/// Makes one of the trees of a superblock.
class TreeMaker {
 public:
  TreeMaker(int root, const image::Superblock& superblock, const image::FileTree& tree, std::string base,
            const CheckpointImage& image)
      : root_(root), superblock_(superblock), tree_(tree), image_(image), base_(std::move(base)) {}

  void make() {
    make_way();
    for (int i = 0; i < tree_.entries_size(); ++i) {
      check_cancelled();
      with_context([&] { return path_of(i); }, [&] { make(i); });
    }
    // What is made in a directory changes its times.
    for (int i = tree_.entries_size(); i-- > 0;) {
      if (S_ISDIR(tree_.entries(i).mode())) {
        with_context([&] { return path_of(i); }, [&] { set_times(open_entry(i).get(), tree_.entries(i)); });
      }
    }
  }

 private:
  /// From the root of the superblock; "." is that itself.
  [[nodiscard]] std::string path_of(int position) const { return path_in(tree_, base_, position); }

  /// Of what the entry is another name of.
  [[nodiscard]] std::string path_of_link(const image::FileTreeEntry& entry) const {
    const auto linked = static_cast<int>(entry.hard_link());
    if (entry.linked_tree() == 0) {
      return path_of(linked);
    }
    const image::FileTree& tree = superblock_.trees(static_cast<int>(entry.linked_tree()) - 1);
    return path_in(tree, base_of(tree), linked);
  }

  static std::string path_in(const image::FileTree& tree, const std::string& base, int position) {
    std::string path;
    for (; position > 0; position = static_cast<int>(tree.entries(position).parent())) {
      path = path.empty() ? tree.entries(position).name() : tree.entries(position).name() + "/" + path;
    }
    return base == "." && !path.empty() ? path : joined_path(base, path);
  }

  /// Directories above the tree, of which nothing is known since no mount showed them.
  void make_way() {
    for (size_t end = base_.find('/'); end != std::string::npos; end = base_.find('/', end + 1)) {
      if (::mkdirat(root_, base_.substr(0, end).c_str(), 0755) != 0 && errno != EEXIST) {
        throw errno_error("cannot make the directory {}", base_.substr(0, end));
      }
    }
  }

  [[nodiscard]] Fd open_entry(int position) const {
    return open_at(root_, path_of(position), O_PATH | O_NOFOLLOW);
  }

  void make(int position) {
    const image::FileTreeEntry& entry = tree_.entries(position);
    const std::string path = path_of(position);
    if (is_link(entry)) {
      const std::string other = path_of_link(entry);
      check(::linkat(root_, other.c_str(), root_, path.c_str(), 0), "make a hard link");
      return;
    }
    Fd content;
    switch (entry.mode() & S_IFMT) {
      case S_IFDIR:
        if (path != ".") {
          check(::mkdirat(root_, path.c_str(), 0700), "make the directory");
        }
        break;
      case S_IFLNK:
        check(::symlinkat(entry.target().c_str(), root_, path.c_str()), "make the symbolic link");
        break;
      case S_IFREG:
        content = open_at(root_, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        fill(content.get(), entry);
        break;
      default:
        check(::mknodat(root_, path.c_str(), (entry.mode() & S_IFMT) | 0600, entry.rdev()), "make the node");
    }
    set_attributes(open_entry(position).get(), entry);
  }

  void fill(int file, const image::FileTreeEntry& entry) const {
    fill_file(file, tree_.path(), entry.size(), find_memory_object(image_, entry.memory_object()),
              image_.pages());
    check(::ftruncate(file, static_cast<off_t>(entry.size())), "set its size");
  }

  /// Owner before mode: a change of owner takes set-user-ID bits and file capabilities away.
  static void set_attributes(int file, const image::FileTreeEntry& entry) {
    const std::string link = fmt::format("/proc/self/fd/{}", file);
    check(::fchownat(file, "", entry.uid(), entry.gid(), AT_EMPTY_PATH), "set the owner");
    for (const image::ExtendedAttribute& attribute : entry.attributes()) {
      if (::setxattr(link.c_str(), attribute.name().c_str(), attribute.value().data(),
                     attribute.value().size(), 0) != 0) {
        throw errno_error("cannot set the extended attribute {}", attribute.name());
      }
    }
    if (!S_ISLNK(entry.mode())) {
      check(::chmod(link.c_str(), entry.mode() & 07777), "set the mode");
    }
    set_times(file, entry);
  }

  static void set_times(int file, const image::FileTreeEntry& entry) {
    const std::array<timespec, 2> times{to_timespec(entry.atime_ns()), to_timespec(entry.mtime_ns())};
    check(::utimensat(file, "", times.data(), AT_EMPTY_PATH), "set its times");
  }

  int root_;
  const image::Superblock& superblock_;
  const image::FileTree& tree_;
  const CheckpointImage& image_;
  std::string base_;  // where it is made, from root_
};

}  // namespace

void make_files(int root, const image::Superblock& superblock, const CheckpointImage& image) {
  for (const image::FileTree& tree : superblock.trees()) {
    if (tree.removed() == 0) {
      TreeMaker(root, superblock, tree, base_of(tree), image).make();
    }
  }
}

void make_nameless(int directory, const image::Superblock& superblock, const image::FileTree& tree,
                   const std::string& name, const CheckpointImage& image) {
  TreeMaker(directory, superblock, tree, name, image).make();
}

}  // namespace godwit
