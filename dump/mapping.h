#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "dump/file.h"
#include "dump/shared_memory.h"
#include "dump/task_state.h"

namespace godwit {

/// Describes mappings (with flags) as far as has to be known to copy private pages: where they are, whether
/// they are the task's own, and whether a file is behind them. Throws Error that names the mapping for what
/// isn't supported, as far as that shows without a look at files.
void describe_layout(const std::vector<procfs::Map>& maps, image::Mm& record);

/// Turns what smaps says into Mapping records.
class MappingCollector {
 public:
  /// Finds out which device the kernel's internal tmpfs is: make it before anything is frozen.
  MappingCollector(FileTable& files, SharedMemoryTable& shared_memory);
  /// Describes `task.maps` in `task.mm`. Throws Error that names the mapping for what isn't supported.
  void collect(TaskState& task);

 private:
  void describe(pid_t pid, const procfs::Map& map, image::Mapping& record);
  void describe_file(pid_t pid, const procfs::Map& map, image::Mapping& record);

  FileTable& files_;
  SharedMemoryTable& shared_memory_;
  dev_t internal_tmpfs_ = 0;
  // A library is mapped in pieces by many tasks: each is looked up once.
  std::map<std::tuple<dev_t, uint64_t, std::string, bool>, uint32_t> file_ids_;
  std::map<uint64_t, uint32_t> shared_memory_ids_;
};

}  // namespace godwit
