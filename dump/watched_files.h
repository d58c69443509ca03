#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/mount.h"

namespace godwit {

/// A file as the kernel names what is watched: fdinfo shows neither path nor descriptor.
struct WatchedFile {
  dev_t device = 0;  // of the superblock, as mountinfo has it
  uint64_t inode = 0;
  int handle_type = 0;
  std::string handle;  // empty: the kernel shows none
};

/// "inotify wd:1 ino:64008 sdev:fe00000 mask:100 … fhandle-bytes:8 fhandle-type:1 f_handle:0840…", by names.
/// Throws Error for a line that isn't made so.
[[nodiscard]] std::map<std::string_view, std::string_view> parse_watch_fields(std::string_view line);
/// Throws Error for fields that aren't there or no numbers.
[[nodiscard]] WatchedFile watched_file(const std::map<std::string_view, std::string_view>& fields);

/// Finds paths of watched files: by handle where the file system decodes those (open_by_handle_at(2)), else
/// by looking through its mounts for the inode, at kMostEntries entries at most.
class WatchedFiles {
 public:
  static constexpr size_t kMostEntries = 200'000;

  /// `pid`: a task in the tree's mount namespace. `root`: as FileTable::set_root.
  WatchedFiles(pid_t pid, int root);

  /// Looks for all of them at once, so that each file system is searched once.
  void find(const std::vector<WatchedFile>& files);
  /// From the tree's root. Nothing: it hasn't been found.
  [[nodiscard]] std::optional<std::string> path_of(const WatchedFile& file) const;

 private:
  using Key = std::pair<dev_t, uint64_t>;
  [[nodiscard]] std::optional<std::string> by_handle(const MountInfo& mount, int directory,
                                                     const WatchedFile& file) const;
  void search(const MountInfo& mount, std::map<uint64_t, const WatchedFile*>& wanted, size_t& entries);
  [[nodiscard]] bool is_there(const std::string& path, uint64_t inode) const;

  int root_;
  std::vector<MountInfo> mounts_;
  std::map<Key, std::string> paths_;
};

}  // namespace godwit
