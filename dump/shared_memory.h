#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dump/file.h"
#include "images-format/shared_memory.pb.h"

namespace godwit {

class MemoryCopier;

/// Shared memory regions of the tree, each once: MAP_SHARED | MAP_ANONYMOUS and memfds.
class SharedMemoryTable {
 public:
  /// `proc_link`: a link in /proc that leads to the region (map_files or fd). Returns its id.
  uint32_t add(const std::string& proc_link);
  /// Hands the content to the copier: the tree must stand until that has copied. Throws Error.
  void add_pages(MemoryCopier& copier, MemoryObjectIds& ids);
  void write(CheckpointWriter& writer) const;

 private:
  struct Entry {
    image::SharedMemory record;
    std::string proc_link;
  };
  std::vector<Entry> entries_;
  std::map<uint64_t, uint32_t> by_inode_;
};

}  // namespace godwit
