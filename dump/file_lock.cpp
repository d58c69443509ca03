#include "dump/file_lock.h"

#include <fcntl.h>

#include "kernel/error.h"

namespace godwit {

namespace {

image::FileLock::Kind kind_of(std::string_view type, const collecting::Description& description) {
  if (type == "POSIX") {
    return image::FileLock::POSIX;
  }
  if (type == "FLOCK") {
    return image::FileLock::FLOCK;
  }
  if (type == "OFDLCK") {
    return image::FileLock::OPEN_FILE;
  }
  throw refusal("{} with a lock of type {}", description.name(), type);
}

/// fcntl(2) asks of a record lock that its descriptor is open for what is locked.
bool allows(uint32_t flags, bool exclusive) {
  const uint32_t mode = flags & O_ACCMODE;
  return mode == O_RDWR || mode == (exclusive ? O_WRONLY : O_RDONLY);
}

}  // namespace

void FileLockTable::add(const FdInfo& info, const collecting::Description& description, pid_t pid) {
  for (const std::string_view line : info.lines("lock")) {
    const FdLock lock = parse_lock(line);
    image::FileLock record;
    record.set_kind(kind_of(lock.type, description));
    record.set_exclusive(lock.access == "WRITE");
    record.set_open_file_id(description.id);
    record.set_start(lock.start);
    record.set_length(lock.length);
    const bool posix = record.kind() == image::FileLock::POSIX;
    if (posix) {
      record.set_pid(pid);
      if (!allows(description.flags(), record.exclusive())) {
        continue;
      }
    }
    records_.try_emplace(
        fmt::format("{} {} {} {} {}", lock.type, posix ? static_cast<uint64_t>(pid) : description.id,
                    posix ? fmt::format("{}:{}", info.mount_id, info.inode) : std::string(), lock.start,
                    lock.length),
        record);
  }
}

}  // namespace godwit
