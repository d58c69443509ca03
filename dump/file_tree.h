#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "dump/file.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/mount.pb.h"

namespace godwit {

/// Writes all files of one superblock, as far as they are asked for: owners, modes, times, extended
/// attributes, links, device nodes; contents become memory objects.
class FileTreeWriter {
 public:
  /// `removed`: inodes of files that are roots of mounts though they have lost a name.
  FileTreeWriter(CheckpointWriter& writer, MemoryObjectIds& ids, std::set<uint64_t> removed)
      : writer_(writer), ids_(ids), removed_(std::move(removed)) {}

  /// Writes the next tree. `root` (O_PATH or readable) is what stands at `path` of the superblock, on a mount
  /// with nothing mounted below. Throws Error.
  void write(int root, const std::string& path, image::FileTree& tree);

 private:
  struct Place {
    uint32_t tree;  // counted from 1
    uint32_t position;
  };

  void add(int directory, const std::string& name, uint32_t parent);
  [[nodiscard]] bool has_other_names(const struct stat& status) const;
  void describe(int fd, const struct stat& status, image::FileTreeEntry& entry);
  void add_children(int directory, uint32_t position);
  [[nodiscard]] std::string name_for_errors(uint32_t position) const;

  CheckpointWriter& writer_;
  MemoryObjectIds& ids_;
  std::set<uint64_t> removed_;
  image::FileTree* tree_ = nullptr;
  uint32_t trees_ = 0;
  std::map<uint64_t, Place> linked_;  // inode of a file with several names: where the first stands
};

}  // namespace godwit
