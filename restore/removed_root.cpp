#include "restore/removed_root.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <list>
#include <vector>

#include "kernel/error.h"
#include "kernel/mount.h"
#include "restore/file_tree.h"

namespace godwit {

namespace {

/// Puts back the times of a directory in which something comes and goes.
class KeptTimes {
 public:
  explicit KeptTimes(Fd directory) : directory_(std::move(directory)) {
    struct stat status {};
    if (::fstat(directory_.get(), &status) != 0) {
      throw errno_error("cannot stat a directory");
    }
    times_ = {status.st_atim, status.st_mtim};
  }
  ~KeptTimes() { ::utimensat(directory_.get(), "", times_.data(), AT_EMPTY_PATH); }
  KeptTimes(const KeptTimes&) = delete;
  KeptTimes& operator=(const KeptTimes&) = delete;

 private:
  Fd directory_;
  std::array<timespec, 2> times_{};
};

}  // namespace

RemovedRoot::RemovedRoot(int directory, const image::Superblock& superblock, uint32_t number,
                         const CheckpointImage& image)
    : directory_(open_at(directory, ".", O_PATH | O_DIRECTORY)),
      name_(fmt::format(".godwit-{}-{}", ::getpid(), number)) {
  const auto tree = std::ranges::find_if(superblock.trees(),
                                         [&](const image::FileTree& one) { return one.removed() == number; });
  if (superblock.origin() == image::Superblock::MADE) {
    former_ = relative_to(tree->path(), "/");
  }
  const KeptTimes kept(open_at(directory, ".", O_PATH | O_DIRECTORY));
  is_directory_ = S_ISDIR(tree->entries(0).mode());
  with_context([&] { return tree->path(); },
               [&] { make_nameless(directory, superblock, *tree, name_, image); });
}

RemovedRoot::~RemovedRoot() {
  if (!name_.empty()) {
    ::unlinkat(directory_.get(), name_.c_str(), is_directory_ ? AT_REMOVEDIR : 0);
  }
}

void RemovedRoot::remove() {
  const KeptTimes kept(open_at(directory_.get(), ".", O_PATH | O_DIRECTORY));
  if (former_.empty()) {
    remove_as(name_);
  } else {
    remove_by_former_name();
  }
  name_.clear();
}

void RemovedRoot::remove_as(const std::string& path) {
  if (::unlinkat(directory_.get(), path.c_str(), is_directory_ ? AT_REMOVEDIR : 0) != 0) {
    throw errno_error("cannot remove {}", path);
  }
}

/// What has the name now gives way for a moment, unless something is mounted there.
void RemovedRoot::remove_by_former_name() {
  const int directory = directory_.get();
  std::list<KeptTimes> kept;
  std::vector<std::string> made;  // of the way there
  for (size_t end = former_.find('/'); end != std::string::npos; end = former_.find('/', end + 1)) {
    const std::string way = former_.substr(0, end);
    if (::mkdirat(directory, way.c_str(), 0700) == 0) {
      made.push_back(way);
    } else if (Fd there(::openat(directory, way.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
               there) {
      kept.emplace_back(std::move(there));
    }
  }
  if (::renameat2(directory, name_.c_str(), directory, former_.c_str(), RENAME_NOREPLACE) == 0) {
    remove_as(former_);
  } else if (::renameat2(directory, name_.c_str(), directory, former_.c_str(), RENAME_EXCHANGE) == 0) {
    remove_as(former_);
    if (::renameat2(directory, name_.c_str(), directory, former_.c_str(), RENAME_NOREPLACE) != 0) {
      throw errno_error("cannot put {} back", former_);
    }
  } else {
    remove_as(name_);
  }
  for (auto way = made.rbegin(); way != made.rend(); ++way) {
    ::unlinkat(directory, way->c_str(), AT_REMOVEDIR);
  }
}

}  // namespace godwit
