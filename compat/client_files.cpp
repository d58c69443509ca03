#include "compat/client_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "compat/stats.pb.h"
#include "images-format/memory.pb.h"
#include "images-format/parent.h"
#include "images-format/partial_directory.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "program/output.h"

namespace godwit::compat {

namespace {

constexpr uint32_t kStatsMagic[] = {0x55105940, 0x57093306};
constexpr uint32_t kInventoryMagic[] = {0x54564319, 0x58313116};
constexpr uint32_t kImageVersion = 2;

constexpr const char* kInventory = "inventory.img";
constexpr const char* kInventoryPartial = "inventory.img.partial";
constexpr const char* kInventoryOld = "inventory.img.old";

template <size_t N>
std::string file_content(const uint32_t (&magic)[N], const google::protobuf::MessageLite& message) {
  const std::string body = message.SerializeAsString();
  std::string content;
  const auto add = [&](uint32_t word) {
    content.append(reinterpret_cast<const char*>(&word), sizeof(word));  // little-endian, as this machine is
  };
  for (const uint32_t word : magic) {
    add(word);
  }
  add(static_cast<uint32_t>(body.size()));
  return content += body;
}

/// A link that somebody has put there under that name isn't followed: others may be able to write there.
Fd write_file(int directory, const std::string& name, const std::string& content) {
  ::unlinkat(directory, name.c_str(), 0);
  Fd file = open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  write_all(file.get(), std::as_bytes(std::span(content.data(), content.size())), name);
  return file;
}

std::string inventory_content() {
  stats::Inventory inventory;
  inventory.set_img_version(kImageVersion);
  return file_content(kInventoryMagic, inventory);
}

bool has_content(int directory, const char* name, const std::string& content) {
  struct stat status {};
  return ::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
         static_cast<size_t>(status.st_size) == content.size() &&
         read_all(open_at(directory, name, O_RDONLY | O_NOFOLLOW).get(), name) == content;
}

uint32_t microseconds(uint64_t nanoseconds) {
  return static_cast<uint32_t>(std::min<uint64_t>(nanoseconds / 1000, UINT32_MAX));
}

stats::DumpStats dump_stats(const DumpReport& report) {
  stats::DumpStats stats;
  stats.set_freezing_time(microseconds(report.freezing_ns));
  stats.set_frozen_time(microseconds(report.frozen_ns));
  stats.set_memdump_time(microseconds(report.memory_ns));
  stats.set_memwrite_time(microseconds(report.memory_ns));
  stats.set_pages_scanned(report.pages + report.zero_pages + report.inherited_pages + report.in_parent_pages);
  stats.set_pages_skipped_parent(report.in_parent_pages);
  stats.set_pages_written(report.pages);
  stats.set_pages_lazy(0);
  return stats;
}

stats::RestoreStats restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  uint64_t inherited = 0;
  uint64_t present = 0;
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    for (const PageRun& run : runs_with_parents(image, *object)) {
      present += run.kind == image::PAGE_PRESENT ? run.count : 0;
      inherited += run.kind == image::PAGE_INHERITED ? run.count : 0;
    }
  }
  stats::RestoreStats stats;
  stats.set_pages_compared(0);
  stats.set_pages_skipped_cow(inherited);
  stats.set_forking_time(microseconds(times.created_ns - times.began_ns));
  stats.set_restore_time(microseconds(times.ended_ns - times.began_ns));
  stats.set_pages_restored(present);
  return stats;
}

}  // namespace

void Inventory::write() {
  const std::string content = inventory_content();
  if (has_content(images_, kInventory, content)) {
    return;  // an older checkpoint's, and the same
  }
  try {
    const Fd file = write_file(images_, kInventoryPartial, content);
    if (::fsync(file.get()) != 0) {
      throw errno_error("cannot sync {}", kInventoryPartial);
    }
    older_aside_ = ::renameat(images_, kInventory, images_, kInventoryOld) == 0;
    if (::renameat(images_, kInventoryPartial, images_, kInventory) != 0) {
      throw errno_error("cannot rename {} to {}", kInventoryPartial, kInventory);
    }
    named_ = true;
    sync_directory(open_at(images_, ".", O_RDONLY | O_DIRECTORY).get(), "the directory of the images");
  } catch (const Error&) {
    ::unlinkat(images_, kInventoryPartial, 0);
    throw;
  }
}

void Inventory::keep() noexcept {
  if (older_aside_) {
    ::unlinkat(images_, kInventoryOld, 0);
  }
  named_ = older_aside_ = false;
}

Inventory::~Inventory() {
  if (older_aside_) {
    ::renameat(images_, kInventoryOld, images_, kInventory);
  } else if (named_) {
    ::unlinkat(images_, kInventory, 0);
  }
}

void write_dump_stats(const DumpReport& report) {
  stats::Stats stats;
  *stats.mutable_dump() = dump_stats(report);
  write_file(AT_FDCWD, "stats-dump", file_content(kStatsMagic, stats));
}

void write_restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  stats::Stats stats;
  *stats.mutable_restore() = restore_stats(image, times);
  write_file(AT_FDCWD, "stats-restore", file_content(kStatsMagic, stats));
}

void print_dump_stats(const DumpReport& report) {
  const stats::DumpStats stats = dump_stats(report);
  print_out(
      fmt::format("Freezing time: {} us\nFrozen time: {} us\nMemory dump time: {} us\n"
                  "Pages scanned: {}\nPages skipped from parent: {}\nPages written: {}\n",
                  stats.freezing_time(), stats.frozen_time(), stats.memdump_time(), stats.pages_scanned(),
                  stats.pages_skipped_parent(), stats.pages_written()));
}

void print_restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  const stats::RestoreStats stats = restore_stats(image, times);
  print_out(fmt::format("Forking time: {} us\nRestore time: {} us\nPages restored: {}\n",
                        stats.forking_time(), stats.restore_time(), stats.pages_restored()));
}

}  // namespace godwit::compat
