#include "dump/watched_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/fdinfo.h"

namespace godwit {

namespace {

/// The kernel's own form of a device number (include/linux/kdev_t.h).
dev_t device_of(uint32_t number) {
  return makedev(number >> 20, number & 0xfffff);
}

std::string bytes_of(std::string_view hexadecimal) {
  std::string bytes;
  for (size_t at = 0; at + 1 < hexadecimal.size(); at += 2) {
    bytes += static_cast<char>(parse_number<uint32_t>(hexadecimal.substr(at, 2), 16, "file handle"));
  }
  return bytes;
}

/// Opens for reading what leads to itself alone as `path`, from the tree's root. Invalid if it can't be.
Fd open_directory(int root, const std::string& path) {
  if (root == AT_FDCWD) {
    return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME));
  }
  const Fd found = open_in_root(root, path);
  return found ? Fd(::openat(found.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME)) : Fd();
}

/// Room for any handle.
class Handle {
 public:
  Handle() : storage_((sizeof(file_handle) + MAX_HANDLE_SZ) / sizeof(uint32_t) + 1) {
    get()->handle_bytes = MAX_HANDLE_SZ;
  }
  explicit Handle(const WatchedFile& file) : Handle() {
    get()->handle_bytes = static_cast<unsigned>(file.handle.size());
    get()->handle_type = file.handle_type;
    std::memcpy(get()->f_handle, file.handle.data(), file.handle.size());
  }
  [[nodiscard]] file_handle* get() { return reinterpret_cast<file_handle*>(storage_.data()); }
  [[nodiscard]] std::string_view bytes() {
    return {reinterpret_cast<const char*>(get()->f_handle), get()->handle_bytes};
  }

 private:
  std::vector<uint32_t> storage_;
};

/// Where several files of a file system show one number, as in a union of layers that has one of its layers
/// in another, the handles that the kernel makes to tell files apart (since Linux 6.5) decide.
bool may_be(int directory, const char* name, const WatchedFile& file) {
  constexpr int kHandleFid = 0x200;  // AT_HANDLE_FID
  Handle found;
  int mount = 0;
  if (file.handle.empty() ||
      ::name_to_handle_at(directory, name, found.get(), &mount, kHandleFid | AT_EMPTY_PATH) != 0) {
    return true;
  }
  return found.get()->handle_type == file.handle_type && found.bytes() == file.handle;
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

std::string below(const std::string& directory, const std::string& name) {
  return directory == "/" ? "/" + name : directory + "/" + name;
}

}  // namespace

std::map<std::string_view, std::string_view> parse_watch_fields(std::string_view line) {
  std::map<std::string_view, std::string_view> fields;
  for (size_t at = line.find(' '); at != std::string_view::npos;) {
    const size_t start = line.find_first_not_of(' ', at);
    if (start == std::string_view::npos) {
      break;
    }
    at = line.find(' ', start);
    const std::string_view word = line.substr(start, at == std::string_view::npos ? at : at - start);
    const size_t colon = word.find(':');
    if (colon == std::string_view::npos) {
      throw error("watch that isn't understood: '{}'", line);
    }
    fields[word.substr(0, colon)] = word.substr(colon + 1);
  }
  return fields;
}

WatchedFile watched_file(const std::map<std::string_view, std::string_view>& fields) {
  const auto number = [&](const char* name) {
    const auto found = fields.find(name);
    if (found == fields.end()) {
      throw error("fdinfo shows a watch without '{}'", name);
    }
    return parse_number<uint64_t>(found->second, 16, name);
  };
  WatchedFile file;
  file.inode = number("ino");
  file.device = device_of(static_cast<uint32_t>(number("sdev")));
  if (fields.contains("f_handle")) {
    file.handle_type = static_cast<int>(number("fhandle-type"));
    file.handle = bytes_of(fields.at("f_handle"));
  }
  return file;
}

WatchedFiles::WatchedFiles(pid_t pid, int root)
    : root_(root), mounts_(parse_mountinfo(read_file(fmt::format("/proc/{}/mountinfo", pid)))) {}

bool WatchedFiles::is_there(const std::string& path, uint64_t inode) const {
  struct stat status {};
  if (root_ == AT_FDCWD) {
    return ::lstat(path.c_str(), &status) == 0 && status.st_ino == inode;
  }
  const Fd found = open_in_root(root_, path);
  return found && ::fstat(found.get(), &status) == 0 && status.st_ino == inode;
}

std::optional<std::string> WatchedFiles::by_handle(const MountInfo& mount, int directory,
                                                   const WatchedFile& file) const {
  if (file.handle.empty() || file.handle.size() > MAX_HANDLE_SZ) {
    return std::nullopt;
  }
  Handle handle(file);
  const Fd opened(::open_by_handle_at(directory, handle.get(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!opened) {
    return std::nullopt;
  }
  // A file that no path led to lately shows as "/", and a removed one with " (deleted)": neither is there.
  std::string path = read_link(fmt::format("/proc/self/fd/{}", opened.get()));
  if (!is_below(path, mount.mount_point) || !is_there(path, file.inode)) {
    return std::nullopt;
  }
  return path;
}

/// Breadth first: what is watched is seldom deep.
void WatchedFiles::search(const MountInfo& mount, std::map<uint64_t, const WatchedFile*>& wanted,
                          size_t& entries) {
  // A union shows its layers' numbers in directories, and devices of its layers.
  const bool trusts_entries = mount.type != "overlay";
  std::deque<std::string> directories = {mount.mount_point};
  while (!directories.empty() && !wanted.empty() && entries < kMostEntries) {
    const std::string path = std::move(directories.front());
    directories.pop_front();
    Fd opened = open_directory(root_, path);
    struct stat status {};
    if (!opened || ::fstat(opened.get(), &status) != 0 ||
        (path == mount.mount_point && status.st_dev != mount.device && mount.type != "btrfs")) {
      continue;
    }
    const dev_t device = status.st_dev;
    const auto note = [&](int directory, const char* name, const std::string& found) {
      const auto file = wanted.find(status.st_ino);
      if (file != wanted.end() && may_be(directory, name, *file->second)) {
        paths_[{mount.device, status.st_ino}] = found;
        wanted.erase(file);
      }
    };
    if (path == mount.mount_point) {
      note(opened.get(), "", path);
    }
    const Directory listing(::fdopendir(opened.get()), &::closedir);
    if (listing == nullptr) {
      continue;
    }
    static_cast<void>(opened.release());
    for (const dirent* entry = ::readdir(listing.get()); entry != nullptr && entries < kMostEntries;
         entry = ::readdir(listing.get()), ++entries) {
      const std::string name = entry->d_name;
      const bool directory = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
      if (name == "." || name == ".." || (trusts_entries && !directory && !wanted.contains(entry->d_ino))) {
        continue;
      }
      if (::fstatat(dirfd(listing.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
          (status.st_dev != device && (trusts_entries || S_ISDIR(status.st_mode)))) {
        continue;  // another mount, which is looked through by itself
      }
      note(dirfd(listing.get()), name.c_str(), below(path, name));
      if (S_ISDIR(status.st_mode)) {
        directories.push_back(below(path, name));
      }
    }
  }
}

void WatchedFiles::find(const std::vector<WatchedFile>& files) {
  std::map<dev_t, std::vector<const WatchedFile*>> by_device;
  for (const WatchedFile& file : files) {
    if (!paths_.contains({file.device, file.inode})) {
      by_device[file.device].push_back(&file);
    }
  }
  for (const auto& [device, watched] : by_device) {
    std::map<uint64_t, const WatchedFile*> wanted;
    for (const WatchedFile* file : watched) {
      wanted[file->inode] = file;
    }
    for (const MountInfo& mount : mounts_) {
      if (mount.device != device || wanted.empty()) {
        continue;
      }
      const Fd directory = open_directory(root_, mount.mount_point);
      for (const WatchedFile* file : watched) {
        if (!directory || !wanted.contains(file->inode)) {
          continue;
        }
        if (const auto path = by_handle(mount, directory.get(), *file)) {
          paths_[{device, file->inode}] = *path;
          wanted.erase(file->inode);
        }
      }
    }
    size_t entries = 0;
    for (const MountInfo& mount : mounts_) {
      if (mount.device == device) {
        search(mount, wanted, entries);
      }
    }
  }
}

std::optional<std::string> WatchedFiles::path_of(const WatchedFile& file) const {
  const auto found = paths_.find({file.device, file.inode});
  return found == paths_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace godwit
