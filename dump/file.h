#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "images-format/checkpoint_writer.h"
#include "images-format/file.pb.h"

namespace godwit {

/// Numbers for MemoryObject records, unique in a checkpoint.
class MemoryObjectIds {
 public:
  uint64_t next() { return ++last_; }

 private:
  uint64_t last_ = 0;
};

/// The files that anything in the tree refers to, each once.
class FileTable {
 public:
  /// The directory (O_PATH, the caller's) from which the tree's paths start; AT_FDCWD: our own root.
  void set_root(int directory) { root_ = directory; }
  /// Where files are mounted that have lost their names: these lead to them.
  using Mounted = std::map<std::pair<dev_t, ino_t>, std::vector<std::string>>;  // by device and inode
  void set_mounted(Mounted mounted) { mounted_ = std::move(mounted); }
  /// lstat(2) of one of the tree's absolute paths without links on the way. False: there is nothing.
  [[nodiscard]] bool find(const std::string& path, struct stat& status) const;

  /// `proc_link` is a link in /proc that leads to the file also when it has no name any more:
  /// /proc/PID/fd/N, /proc/PID/map_files/START-END, /proc/PID/exe. Returns the File's id.
  /// `validate`: size and mtime must be unchanged at restore.
  /// Throws Error for what can't be kept (an unlinked directory, a file that has lost this name but
  /// has others).
  uint32_t add(const std::string& proc_link, bool validate = false);
  /// For callers that have already read the link and asked for the file's status through it.
  uint32_t add(const std::string& proc_link, const std::string& link_text, const struct stat& status,
               bool validate = false);

  /// Writes the records, and the content of ghosts. Throws Error.
  void write(CheckpointWriter& writer, MemoryObjectIds& ids) const;

 private:
  struct Entry {
    image::File record;
    std::string proc_link;
  };
  struct Name {
    std::string path;
    bool leads_to_it;
  };

  [[nodiscard]] bool leads_to(const std::string& path, const struct stat& status) const;
  [[nodiscard]] Name name_of(const std::string& link_text, const struct stat& status) const;

  int root_ = AT_FDCWD;
  Mounted mounted_;
  std::vector<Entry> entries_;
  std::map<std::tuple<uint64_t, uint64_t, std::string>, uint32_t> by_identity_;
};

}  // namespace godwit
