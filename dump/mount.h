#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dump/file.h"
#include "dump/mount_options.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/mount.pb.h"
#include "kernel/fd.h"
#include "kernel/mount.h"

namespace godwit {

/// The mount namespaces of a tree. How the mounts of each are made again is decided here:
///
/// - by name, where `external` says so;
/// - from outside, where this process's own namespace has the superblock too, or the root of the namespace is
/// the one
///   from which it can be taken: the root itself is given by whoever restores;
/// - anew, by type and options, for file systems that live in memory: with all their content (tmpfs), or
/// where they
///   have none of their own (proc, sysfs, ...).
///
/// Everything else is refused by mount point and type.
class MountCollector {
 public:
  explicit MountCollector(MountOptions options) : options_(std::move(options)) {}
  ~MountCollector();

  /// Collects the mount namespace of task `pid`, which stands still, unless it has been. Throws Error.
  const image::MountNamespace& collect(pid_t pid);

  /// The root directory (O_PATH) of the mount namespace of task `pid`. Throws Error.
  [[nodiscard]] static Fd root_of(pid_t pid);

  /// A terminal by its status: if it is in a devpts instance that is made anew, so will it be. Returns its
  /// path from `root_directory`, that of the tree; empty: it isn't, or no mount shows it.
  [[nodiscard]] std::string use_terminal(const struct stat& terminal, int root_directory);

  /// Where files are mounted that have lost their names.
  [[nodiscard]] const FileTable::Mounted& mounted_without_name() const { return mounted_without_name_; }

  /// Writes the records, with the content of what is made anew. The tree must still stand still. Throws
  /// Error.
  void write(CheckpointWriter& writer, MemoryObjectIds& ids);

 private:
  class Collection;
  struct Tree {
    std::string path;
    Fd mount;              // detached, nothing mounted below
    uint32_t removed = 0;  // as image::FileTree has it
  };
  struct Superblock {
    image::Superblock record;
    std::vector<Tree> trees;
    std::map<uint64_t, uint32_t> removed;           // inode of what has lost its name: its tree's number
    std::map<uint32_t, image::Terminal> terminals;  // by index
  };

  Superblock& superblock_of(const MountInfo& mount);
  static void note_terminal(Superblock& superblock, const struct stat& terminal);
  [[nodiscard]] bool is_outside(const MountInfo& mount) const;
  [[nodiscard]] bool leads_to(const std::string& path, const MountInfo& own) const;
  void set_widest(dev_t device, image::Superblock& record) const;
  /// Under which path this process sees something by its path from the root of a superblock; empty: it
  /// doesn't.
  [[nodiscard]] std::string path_outside(dev_t device, const std::string& root) const;

  MountOptions options_;
  std::vector<MountInfo> own_;  // mounts of this process's namespace
  Fd own_root_;                 // its root directory
  std::map<uint64_t, image::MountNamespace> namespaces_;
  std::map<uint64_t, Superblock> superblocks_;  // by device
  FileTable::Mounted mounted_without_name_;
};

}  // namespace godwit
