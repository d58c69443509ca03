#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "dump/descriptor_kind.h"
#include "images-format/file_lock.pb.h"

namespace godwit {

/// The locks on the files of the tree, each once, as fdinfo shows them.
class FileLockTable {
 public:
  /// Looks at what one descriptor shows. `info` is its own fdinfo: the POSIX locks of a file are shown
  /// by each of the owner's descriptors of it. `pid` is a task with the descriptor's table.
  /// Throws Error for leases.
  void add(const FdInfo& info, const collecting::Description& description, pid_t pid);
  [[nodiscard]] const std::map<std::string, image::FileLock>& records() const { return records_; }

 private:
  std::map<std::string, image::FileLock> records_;  // by owner, file, and range
};

}  // namespace godwit
