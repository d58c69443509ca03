#include "images-format/partial_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "images-format/partial_directory.h"
#include "images-format/partial_name.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr const char* kNeverOverwrites = "a checkpoint never overwrites anything";

void remove_stale(int parent, const std::string& parent_path, const std::string& name) {
  for (const std::string& entry : list_directory(parent, parent_path)) {
    struct stat status {};
    if (!is_partial_name(entry, name) ||
        ::fstatat(parent, entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode)) {
      continue;
    }
    const Fd file(::openat(parent, entry.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlinkat(parent, entry.c_str(), 0);
    }
  }
}

/// Fails with EEXIST if something has the new name.
int rename_to_free_name(int parent, const char* from, const char* to) {
  if (::renameat2(parent, from, parent, to, RENAME_NOREPLACE) == 0) {
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return -1;
  }
  // The file system (NFS, for one) doesn't know how.
  return ::linkat(parent, from, parent, to, 0) == 0 ? ::unlinkat(parent, from, 0) : -1;
}

}  // namespace

PartialFile::PartialFile(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    throw Error(
        fmt::format("{} exists", path), 0,
        S_ISDIR(status.st_mode) ? "a checkpoint in a directory is asked for by -D" : kNeverOverwrites);
  }
  FinalName final = final_name(path);
  if (path.ends_with('/')) {
    throw error("'{}' can't be the name of a file", path);
  }
  final_name_ = std::move(final.name);
  parent_path_ = std::move(final.parent);
  parent_ = open_file(parent_path_, O_RDONLY | O_DIRECTORY);
  remove_stale(parent_.get(), parent_path_, final_name_);
  make();
}

void PartialFile::make() {
  for (;;) {
    partial_name_ = make_partial_name(final_name_);
    file_ = Fd(::openat(parent_.get(), partial_name_.c_str(),
                        O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file_) {
      if (errno == EEXIST) {
        continue;
      }
      throw errno_error("cannot make {}", path()).hint("a checkpoint is written beside its final name");
    }
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0 && !is_gone(file_.get())) {
      return;
    }
    // Another writer of this name came before the lock and took the file for one that was left behind.
    if (errno != EWOULDBLOCK && !is_gone(file_.get())) {
      const Error failure = errno_error("cannot lock {}", path());
      ::unlinkat(parent_.get(), partial_name_.c_str(), 0);
      throw failure;
    }
  }
}

PartialFile::~PartialFile() {
  if (!published_) {
    ::unlinkat(parent_.get(), partial_name_.c_str(), 0);
  }
}

void PartialFile::publish(bool sync) {
  if (sync && ::fsync(file_.get()) != 0) {
    throw errno_error("cannot sync {}", path());
  }
  if (rename_to_free_name(parent_.get(), partial_name_.c_str(), final_name_.c_str()) != 0) {
    const int code = errno;
    throw Error(fmt::format("cannot rename {} to {}", path(), final_name_), code,
                code == EEXIST ? kNeverOverwrites : "");
  }
  published_ = true;
  if (!sync) {
    return;
  }
  try {
    sync_directory(parent_.get(), parent_path_);
  } catch (...) {
    retract();
    throw;
  }
}

void PartialFile::retract() noexcept {
  published_ =
      published_ && ::renameat(parent_.get(), final_name_.c_str(), parent_.get(), partial_name_.c_str()) != 0;
}

}  // namespace godwit
