#include "images-format/partial_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "images-format/page_store.h"
#include "images-format/partial_name.h"
#include "kernel/error.h"

namespace godwit {

namespace {

/// What runtimes have in the checkpoints of their containers besides.
constexpr std::array<std::string_view, 5> kOfTheRuntime = {
    "descriptors.json", "inventory.img", "container.json", "devshm-checkpoint.tar", "network.status"};

/// With all its files, of which a container's checkpoint has some that only its runtime knows.
void remove_directory(int parent, const std::string& name, int directory) noexcept {
  try {
    for (const std::string& file : list_directory(directory, name)) {
      ::unlinkat(directory, file.c_str(), 0);
    }
  } catch (const Error&) {
    // It stays, and is in nobody's way.
  }
  ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
}

/// Removes what killed writers of `name` have left. What can't be removed stays: it is in nobody's way.
void remove_stale(int parent, const std::string& parent_path, const std::string& name) {
  const auto is_ours = [](const std::string& file) {
    return file == kMetadataFile || file.starts_with("pages") ||
           std::ranges::find(kOfTheRuntime, file) != kOfTheRuntime.end();
  };
  for (const std::string& entry : list_directory(parent, parent_path)) {
    if (!is_partial_name(entry, name)) {
      continue;
    }
    const Fd directory(::openat(parent, entry.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0 &&
        std::ranges::all_of(list_directory(directory.get(), entry), is_ours)) {
      remove_directory(parent, entry, directory.get());
    }
  }
}

/// An empty directory that has the final name is replaced by the checkpoint; anything else is refused.
void check_replaceable(int parent, const std::string& name, const std::string& path) {
  const Fd existing(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!existing) {
    if (errno == ENOENT) {
      return;
    }
    throw errno_error("cannot use {} for a checkpoint", path);
  }
  if (!list_directory(existing.get(), path).empty()) {
    throw Error(fmt::format("{} isn't empty", path), 0, "a checkpoint never overwrites anything");
  }
  struct stat inside {};
  struct stat outside {};
  if (::fstat(existing.get(), &inside) != 0 || ::fstat(parent, &outside) != 0) {
    throw errno_error("cannot stat {}", path);
  }
  if (inside.st_dev != outside.st_dev) {
    throw Error(fmt::format("{} is a mount point", path), 0, "name a directory inside it");
  }
}

}  // namespace

std::vector<std::string> list_directory(int directory, const std::string& path) {
  Fd copy = open_at(directory, ".", O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
  if (stream == nullptr) {
    throw errno_error("cannot list {}", path);
  }
  static_cast<void>(copy.release());
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  if (errno != 0) {
    throw errno_error("cannot list {}", path);
  }
  return names;
}

std::string payload_file(size_t index) {
  return index == 0 ? "pages" : fmt::format("pages-{}", index + 1);
}

PartialDirectory::PartialDirectory(const std::string& path) {
  FinalName final = final_name(path);
  final_name_ = std::move(final.name);
  parent_path_ = std::move(final.parent);
  parent_ = open_file(parent_path_, O_RDONLY | O_DIRECTORY);
  check_replaceable(parent_.get(), final_name_, path);
  remove_stale(parent_.get(), parent_path_, final_name_);
  make();
}

void PartialDirectory::make() {
  for (;;) {
    partial_name_ = make_partial_name(final_name_);
    if (::mkdirat(parent_.get(), partial_name_.c_str(), 0700) != 0) {
      if (errno == EEXIST) {
        continue;
      }
      throw errno_error("cannot make {}", path()).hint("a checkpoint is written beside its final name");
    }
    directory_ =
        Fd(::openat(parent_.get(), partial_name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory_ && ::flock(directory_.get(), LOCK_EX | LOCK_NB) == 0 && !is_gone(directory_.get())) {
      return;
    }
    // Another writer of this name came before the lock and took the directory for one that was left behind.
    if (directory_ && errno != EWOULDBLOCK && !is_gone(directory_.get())) {
      const Error failure = errno_error("cannot lock {}", path());
      ::unlinkat(parent_.get(), partial_name_.c_str(), AT_REMOVEDIR);
      throw failure;
    }
    if (!directory_ && errno != ENOENT) {
      throw errno_error("cannot open {}", path());
    }
  }
}

PartialDirectory::~PartialDirectory() {
  if (!published_) {
    remove_directory(parent_.get(), partial_name_, directory_.get());
  }
}

Fd PartialDirectory::create_file(const std::string& name) {
  Fd file(::openat(directory_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) {
    throw errno_error("cannot make {}/{}", path(), name);
  }
  return file;
}

void sync_directory(int fd, const std::string& name) {
  // Some file systems can't sync a directory; what they promise for a rename is all there is.
  if (::fsync(fd) != 0 && errno != EINVAL) {
    throw errno_error("cannot sync {}", name);
  }
}

void PartialDirectory::publish(bool sync) {
  if (sync) {
    sync_directory(directory_.get(), path());
  }
  // rename(2) puts a directory only in the place of an empty one: nothing that somebody else has written
  // there meanwhile is lost.
  if (::renameat(parent_.get(), partial_name_.c_str(), parent_.get(), final_name_.c_str()) != 0) {
    throw errno_error("cannot rename {} to {}", path(), final_name_);
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

void PartialDirectory::retract() noexcept {
  published_ =
      published_ && ::renameat(parent_.get(), final_name_.c_str(), parent_.get(), partial_name_.c_str()) != 0;
}

}  // namespace godwit
