#include "compat/client_files.h"

#include <fcntl.h>

#include <algorithm>

#include "compat/stats.pb.h"
#include "images-format/memory.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "program/output.h"

namespace godwit::compat {

namespace {

constexpr uint32_t kStatsMagic[] = {0x55105940, 0x57093306};
constexpr uint32_t kInventoryMagic[] = {0x54564319, 0x58313116};
constexpr uint32_t kImageVersion = 2;

template <size_t N>
void write_file(int directory, const std::string& name, const uint32_t (&magic)[N],
                const google::protobuf::MessageLite& message) {
  const std::string body = message.SerializeAsString();
  std::string content;
  const auto add = [&](uint32_t word) {
    content.append(reinterpret_cast<const char*>(&word), sizeof(word));  // little-endian, as this machine is
  };
  for (const uint32_t word : magic) {
    add(word);
  }
  add(static_cast<uint32_t>(body.size()));
  content += body;
  const Fd file = open_at(directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  write_all(file.get(), std::as_bytes(std::span(content.data(), content.size())), name);
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
  stats.set_pages_scanned(report.pages + report.zero_pages + report.inherited_pages);
  stats.set_pages_skipped_parent(0);
  stats.set_pages_written(report.pages);
  stats.set_pages_lazy(0);
  return stats;
}

stats::RestoreStats restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  uint64_t inherited = 0;
  uint64_t present = 0;
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    for (const PageRun& run : decode_runs(*object)) {
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

void write_inventory(int images) {
  stats::Inventory inventory;
  inventory.set_img_version(kImageVersion);
  write_file(images, "inventory.img", kInventoryMagic, inventory);
}

void write_dump_stats(const DumpReport& report) {
  stats::Stats stats;
  *stats.mutable_dump() = dump_stats(report);
  write_file(AT_FDCWD, "stats-dump", kStatsMagic, stats);
}

void write_restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  stats::Stats stats;
  *stats.mutable_restore() = restore_stats(image, times);
  write_file(AT_FDCWD, "stats-restore", kStatsMagic, stats);
}

void print_dump_stats(const DumpReport& report) {
  const stats::DumpStats stats = dump_stats(report);
  print_out(
      fmt::format("Freezing time: {} us\nFrozen time: {} us\nMemory dump time: {} us\n"
                  "Pages scanned: {}\nPages written: {}\n",
                  stats.freezing_time(), stats.frozen_time(), stats.memdump_time(), stats.pages_scanned(),
                  stats.pages_written()));
}

void print_restore_stats(const CheckpointImage& image, const RestoreTimes& times) {
  const stats::RestoreStats stats = restore_stats(image, times);
  print_out(fmt::format("Forking time: {} us\nRestore time: {} us\nPages restored: {}\n",
                        stats.forking_time(), stats.restore_time(), stats.pages_restored()));
}

}  // namespace godwit::compat
