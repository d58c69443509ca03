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

class TreeMaker {
 public:
  TreeMaker(int root, const image::FileTree& tree, const CheckpointImage& image)
      : root_(root), tree_(tree), image_(image) {}

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
  [[nodiscard]] std::string path_of(int position) const {
    std::string path;
    for (; position > 0; position = static_cast<int>(tree_.entries(position).parent())) {
      path = path.empty() ? tree_.entries(position).name() : tree_.entries(position).name() + "/" + path;
    }
    const std::string base = relative_to(tree_.path(), "/");
    return base.empty() ? (path.empty() ? "." : path) : joined_path(base, path);
  }

  /// Directories above the tree, of which nothing is known since no mount showed them.
  void make_way() {
    const std::string& path = tree_.path();
    for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
      if (::mkdirat(root_, path.substr(1, end - 1).c_str(), 0755) != 0 && errno != EEXIST) {
        throw errno_error("cannot make the directory {}", path.substr(0, end));
      }
    }
  }

  [[nodiscard]] Fd open_entry(int position) const {
    return open_at(root_, path_of(position), O_PATH | O_NOFOLLOW);
  }

  void make(int position) {
    const image::FileTreeEntry& entry = tree_.entries(position);
    const std::string path = path_of(position);
    if (entry.hard_link() != 0) {
      const std::string other = path_of(static_cast<int>(entry.hard_link()));
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
        fill_file(content.get(), path, entry.size(), find_memory_object(image_, entry.memory_object()),
                  image_.pages());
        check(::ftruncate(content.get(), static_cast<off_t>(entry.size())), "set its size");
        break;
      default:
        check(::mknodat(root_, path.c_str(), (entry.mode() & S_IFMT) | 0600, entry.rdev()), "make the node");
    }
    set_attributes(position, entry);
  }

  /// Owner before mode: a change of owner takes set-user-ID bits and file capabilities away.
  void set_attributes(int position, const image::FileTreeEntry& entry) {
    const Fd file = open_entry(position);
    const std::string link = fmt::format("/proc/self/fd/{}", file.get());
    check(::fchownat(file.get(), "", entry.uid(), entry.gid(), AT_EMPTY_PATH), "set the owner");
    for (const image::ExtendedAttribute& attribute : entry.attributes()) {
      if (::setxattr(link.c_str(), attribute.name().c_str(), attribute.value().data(),
                     attribute.value().size(), 0) != 0) {
        throw errno_error("cannot set the extended attribute {}", attribute.name());
      }
    }
    if (!S_ISLNK(entry.mode())) {
      check(::chmod(link.c_str(), entry.mode() & 07777), "set the mode");
    }
    set_times(file.get(), entry);
  }

  static void set_times(int file, const image::FileTreeEntry& entry) {
    const std::array<timespec, 2> times{to_timespec(entry.atime_ns()), to_timespec(entry.mtime_ns())};
    check(::utimensat(file, "", times.data(), AT_EMPTY_PATH), "set its times");
  }

  static void check(int result, const char* doing) {
    if (result != 0) {
      throw errno_error("cannot {}", doing);
    }
  }

  int root_;
  const image::FileTree& tree_;
  const CheckpointImage& image_;
};

}  // namespace

void make_file_tree(int root, const image::FileTree& tree, const CheckpointImage& image) {
  TreeMaker(root, tree, image).make();
}

}  // namespace godwit
