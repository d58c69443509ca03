#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
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
  FileTreeWriter(CheckpointWriter& writer, MemoryObjectIds& ids) : writer_(writer), ids_(ids) {}

  /// `root` (O_PATH or readable) is what stands at `path` of the superblock, on a mount with nothing mounted
  /// below. Throws Error.
  void write(int root, const std::string& path, image::FileTree& tree);

 private:
  void add(int directory, const std::string& name, uint32_t parent);
  void describe(int fd, const struct stat& status, image::FileTreeEntry& entry);
  void add_children(int directory, uint32_t position);
  [[nodiscard]] std::string name_for_errors(uint32_t position) const;

  CheckpointWriter& writer_;
  MemoryObjectIds& ids_;
  image::FileTree* tree_ = nullptr;
  std::map<uint64_t, uint32_t> linked_;  // inode of a file with several names: where the first stands
};

}  // namespace godwit
