#include "dump/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <string_view>

#include "dump/file_content.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/mount.h"

namespace godwit {

namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr int64_t kNanoseconds = 1'000'000'000;

int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * kNanoseconds + time.tv_nsec;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

bool FileTable::find(const std::string& path, struct stat& status) const {
  if (root_ == AT_FDCWD) {
    return ::lstat(path.c_str(), &status) == 0;
  }
  const Fd found = open_in_root(root_, path);
  return found && ::fstat(found.get(), &status) == 0;
}

bool FileTable::leads_to(const std::string& path, const struct stat& status) const {
  struct stat found {};
  return find(path, found) && same_file(found, status);
}

/// The path under which the file will be found again, or, without a name, was found.
FileTable::Name FileTable::name_of(const std::string& link_text, const struct stat& status) const {
  if (!link_text.starts_with('/')) {
    throw refusal("{}, which has no path,", link_text);
  }
  if (leads_to(link_text, status)) {
    return {link_text, true};
  }
  if (!link_text.ends_with(kDeleted)) {
    throw refusal("{}, which isn't what stands under that name,", link_text);
  }
  std::string path = link_text.substr(0, link_text.size() - kDeleted.size());
  if (const auto mounted = mounted_.find({status.st_dev, status.st_ino}); mounted != mounted_.end()) {
    for (const std::string& place : mounted->second) {
      if (leads_to(place, status)) {
        return {place, true};
      }
    }
  }
  if (status.st_nlink > 0 && !S_ISDIR(status.st_mode)) {
    throw refusal("{}, which has lost this name but has others,", link_text);
  }
  if (!S_ISREG(status.st_mode)) {
    throw refusal("{}, which isn't a regular file,", link_text);
  }
  return {std::move(path), false};
}

uint32_t FileTable::add(const std::string& proc_link, bool validate) {
  struct stat status {};
  if (::stat(proc_link.c_str(), &status) != 0) {
    throw errno_error("cannot stat {}", proc_link);
  }
  return add(proc_link, read_link(proc_link), status, validate);
}

uint32_t FileTable::add(const std::string& proc_link, const std::string& link_text, const struct stat& status,
                        bool validate) {
  const auto [known, is_new] =
      by_identity_.try_emplace({status.st_dev, status.st_ino, status.st_nlink == 0 ? "" : link_text}, 0);
  if (!is_new) {
    image::File& record = entries_[known->second - 1].record;
    record.set_validate(record.validate() || (validate && !record.has_ghost()));
    return known->second;
  }
  Entry entry;
  image::File& record = entry.record;
  const Name name = name_of(link_text, status);
  record.set_path(name.path);
  record.set_id(static_cast<uint32_t>(entries_.size() + 1));
  record.set_mode(status.st_mode);
  record.set_device(status.st_dev);
  record.set_inode(status.st_ino);
  record.set_size(static_cast<uint64_t>(status.st_size));
  record.set_mtime_ns(nanoseconds(status.st_mtim));
  record.set_rdev(status.st_rdev);
  if (!name.leads_to_it) {
    image::Ghost& ghost = *record.mutable_ghost();
    ghost.set_uid(status.st_uid);
    ghost.set_gid(status.st_gid);
    ghost.set_atime_ns(nanoseconds(status.st_atim));
    entry.proc_link = proc_link;
  } else {
    record.set_validate(validate);
  }
  entries_.push_back(std::move(entry));
  known->second = static_cast<uint32_t>(entries_.size());
  return known->second;
}

void FileTable::write(CheckpointWriter& writer, MemoryObjectIds& ids) const {
  for (const Entry& entry : entries_) {
    if (!entry.record.has_ghost()) {
      writer.add(entry.record);
      continue;
    }
    image::File record = entry.record;
    const uint64_t object = ids.next();
    record.mutable_ghost()->set_memory_object(object);
    const Fd fd = open_file(entry.proc_link, O_RDONLY | O_NOATIME);
    const std::string& name = record.path();
    writer.add(record);
    writer.add(write_file_content(fd.get(), name, record.size(), writer.pages(), object));
  }
}

}  // namespace godwit
