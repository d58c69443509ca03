#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/descriptor.pb.h"
#include "images-format/file.pb.h"
#include "images-format/memory.pb.h"
#include "images-format/mm.pb.h"
#include "images-format/mount.pb.h"
#include "images-format/net.pb.h"
#include "images-format/page_store.h"
#include "images-format/pre_dump.pb.h"
#include "images-format/record.h"
#include "images-format/seccomp.pb.h"
#include "images-format/shared_memory.pb.h"
#include "images-format/task.pb.h"
#include "kernel/error.h"

namespace godwit {

/// What the parts of validate() share: every record that others refer to, by its id.
struct ValidationIndex {
  const image::Checkpoint* header = nullptr;
  std::map<int32_t, const image::Task*> tasks;  // by pid, dumper's level
  std::map<uint32_t, const image::Mm*> mms;
  std::map<uint64_t, const image::MemoryObject*> memory_objects;
  std::map<uint32_t, const image::SharedMemory*> shared_memory;
  std::map<uint32_t, const image::File*> files;
  std::map<int32_t, const image::PreDumpedTask*> pre_dumped_tasks;  // by pid
  std::map<uint32_t, const image::DescriptorTable*> descriptor_tables;
  std::map<uint32_t, const image::SeccompFilter*> seccomp_filters;
  std::map<uint32_t, const image::Superblock*> superblocks;
  std::map<uint64_t, const image::MountNamespace*> mount_namespaces;
  std::map<uint32_t, const image::CgroupSet*> cgroup_sets;
  std::map<uint32_t, const Record*> open_files;  // the record that makes the description
};

/// Tasks, threads and seccomp filters.
void validate_tasks(const std::vector<Record>& records, const ValidationIndex& index);
/// Namespaces, each by itself.
void validate_namespaces(const std::vector<Record>& records, const ValidationIndex& index);
/// Cgroups, and in which ones tasks and threads are.
void validate_cgroups(const std::vector<Record>& records, const ValidationIndex& index);
/// What a network namespace holds.
void validate_net(const image::NetNamespace& record);
/// Address spaces, memory objects, shared memory, and where the blocks lie in the payload.
void validate_memory(const ValidationIndex& index, const PayloadSizes& payload_sizes);
/// A pre-dump, which has no other records than those of memory.
void validate_pre_dump(const std::vector<Record>& records, const ValidationIndex& index,
                       const PayloadSizes& payload_sizes);
/// Files, descriptor tables, locks, and what each kind of open file description says.
void validate_descriptors(const std::vector<Record>& records, const ValidationIndex& index);

/// Mount namespaces, superblocks and the trees of files in them.
void validate_mounts(const ValidationIndex& index);

template <typename... Args>
[[nodiscard]] Error damaged(fmt::format_string<Args...> format, Args&&... args) {
  return Error(fmt::format(format, std::forward<Args>(args)...), 0, "the checkpoint is damaged");
}

/// Throws unless `ok`. The message is only made when it is needed.
template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) {
    throw damaged(format, std::forward<Args>(args)...);
  }
}

/// Opening it has no effect and never waits: a regular file, or null, zero, full, random, urandom.
[[nodiscard]] bool has_plain_content(const image::File& file);

/// An absolute path without zero bytes, short enough for the kernel.
void require_path(std::string_view path, std::string_view what);

/// The kernel lets clocks of a time namespace show that much, in ns.
void require_clocks(uint64_t monotonic, uint64_t boottime);

template <typename Message, typename Visit>
void for_each_record(const std::vector<Record>& records, Visit&& visit) {
  const RecordType type = record_type_of(Message::default_instance());
  for (const Record& record : records) {
    if (record.type == type) {
      visit(static_cast<const Message&>(*record.message));
    }
  }
}

}  // namespace godwit
