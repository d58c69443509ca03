#include "dump/shared_memory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump/memory.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr std::string_view kMemFdPrefix = "/memfd:";
constexpr std::string_view kDeleted = " (deleted)";

/// The name of a memfd from its link, "/memfd:NAME (deleted)".
bool take_memfd_name(std::string_view link, std::string& name) {
  if (!link.starts_with(kMemFdPrefix)) {
    return false;
  }
  link.remove_prefix(kMemFdPrefix.size());
  if (link.ends_with(kDeleted)) {
    link.remove_suffix(kDeleted.size());
  }
  name = link;
  return true;
}

}  // namespace

uint32_t SharedMemoryTable::add(const std::string& proc_link) {
  struct stat status {};
  if (::stat(proc_link.c_str(), &status) != 0) {
    throw errno_error("cannot look at {}", proc_link);
  }
  const auto [known, is_new] = by_inode_.emplace(status.st_ino, static_cast<uint32_t>(entries_.size() + 1));
  if (!is_new) {
    return known->second;
  }
  Entry& entry = entries_.emplace_back();
  entry.proc_link = proc_link;
  entry.record.set_id(known->second);
  entry.record.set_size(static_cast<uint64_t>(status.st_size));
  entry.record.set_uid(status.st_uid);
  entry.record.set_gid(status.st_gid);
  entry.record.set_mode(status.st_mode & 07777);
  std::string name;
  if (take_memfd_name(read_link(proc_link), name)) {
    entry.record.set_memfd(true);
    entry.record.set_name(name);
  }
  return known->second;
}

void SharedMemoryTable::add_pages(MemoryCopier& copier, MemoryObjectIds& ids) {
  for (Entry& entry : entries_) {
    Fd file = open_file(entry.proc_link, O_RDONLY);
    const int fd = file.get();
    if (entry.record.memfd()) {
      const int seals = ::fcntl(fd, F_GET_SEALS);
      if (seals < 0) {
        throw errno_error("cannot read the seals of {}", entry.proc_link);
      }
      entry.record.set_seals(static_cast<uint32_t>(seals));
    }
    entry.record.set_memory_object(ids.next());
    const MemoryCopier::Object object = copier.add_file(entry.record.memory_object(), std::move(file));
    for (off_t end = 0;;) {
      const off_t start = ::lseek(fd, end, SEEK_DATA);
      if (start < 0 && errno == ENXIO) {
        break;
      }
      end = start < 0 ? -1 : ::lseek(fd, start, SEEK_HOLE);
      if (end < 0) {
        throw errno_error("cannot find the data of {}", entry.proc_link);
      }
      const auto first = static_cast<uint64_t>(start) / kPageSize;
      copier.add_pages(object, first, (static_cast<uint64_t>(end) + kPageSize - 1) / kPageSize - first);
    }
  }
}

void SharedMemoryTable::write(CheckpointWriter& writer) const {
  for (const Entry& entry : entries_) {
    writer.add(entry.record);
  }
}

}  // namespace godwit
