#include "images-format/validate.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <climits>

#include "images-format/frame.h"
#include "images-format/page_store.h"
#include "images-format/validate_index.h"

namespace godwit {

namespace {

// fxsave area and xsave header; and more than any CPU has.
constexpr uint32_t kMinXsaveBytes = 512 + 64;
constexpr uint32_t kMaxXsaveBytes = 64 * 1024;
constexpr uint64_t kX87AndSse = 3;
constexpr uint64_t kMaxVdsoBytes = 1024UL * 1024;

void validate_vdso(const image::Vdso& vdso) {
  const auto size_ok = [](uint64_t size) { return size % kPageSize == 0 && size <= kMaxVdsoBytes; };
  require(size_ok(vdso.vdso_size()) && size_ok(vdso.vvar_size()), "the vdso has {} bytes, its data {}",
          vdso.vdso_size(), vdso.vvar_size());
}

void validate_parent_reference(const image::ParentCheckpoint& parent) {
  require(parent.uuid().size() == 16, "the uuid of its parent has {} bytes", parent.uuid().size());
  require(!parent.path().empty() && parent.path().size() < PATH_MAX &&
              parent.path().find('\0') == std::string::npos,
          "the path of its parent has {} bytes", parent.path().size());
}

void validate_header(const image::Checkpoint& header) {
  check_format_version(header.format_version());
  if (header.has_parent()) {
    validate_parent_reference(header.parent());
  }
  if (header.machine() != "x86_64") {
    throw refusal("a checkpoint of the machine '{}'", header.machine());
  }
  require(header.uuid().size() == 16, "the uuid has {} bytes", header.uuid().size());
  require(header.page_size() == kPageSize, "pages of {} bytes", header.page_size());
  require(header.xsave_size() >= kMinXsaveBytes && header.xsave_size() <= kMaxXsaveBytes &&
              header.xsave_size() % 8 == 0,
          "xsave areas of {} bytes", header.xsave_size());
  require((header.xsave_features() & kX87AndSse) == kX87AndSse, "xsave features {:#x}",
          header.xsave_features());
  validate_vdso(header.vdso());
  require_clocks(header.monotonic_ns(), header.boottime_ns());
}

template <typename Map, typename Id, typename Value>
void add_unique(Map& map, Id id, Value value, std::string_view what) {
  require(id > 0, "{} {}: its number must not be 0 or less", what, id);
  require(map.emplace(id, value).second, "{} {} is there twice", what, id);
}

void add_open_files(ValidationIndex& index, const Record& record) {
  const std::string_view kind = find_record_kind(static_cast<uint32_t>(record.type))->name;
  for_each_open_file(record, [&](const image::OpenFile& file) {
    with_context([&] { return std::string(kind); },
                 [&] { add_unique(index.open_files, file.id(), &record, "open file"); });
  });
}

ValidationIndex make_index(const std::vector<Record>& records) {
  ValidationIndex index;
  require(!records.empty() && records.front().type == RecordType::Checkpoint,
          "it doesn't begin with its header");
  for_each_record<image::Checkpoint>(records, [&](const image::Checkpoint& header) {
    require(index.header == nullptr, "it has two headers");
    index.header = &header;
  });
  for_each_record<image::Task>(records, [&](const auto& task) {
    add_unique(index.tasks, task.pid_size() > 0 ? task.pid(0) : 0, &task, "task");
  });
  for_each_record<image::Mm>(records, [&](const auto& mm) { add_unique(index.mms, mm.id(), &mm, "mm"); });
  for_each_record<image::MemoryObject>(records, [&](const auto& object) {
    add_unique(index.memory_objects, object.id(), &object, "memory object");
  });
  for_each_record<image::SharedMemory>(records, [&](const auto& shared) {
    add_unique(index.shared_memory, shared.id(), &shared, "shared memory");
  });
  for_each_record<image::File>(records,
                               [&](const auto& file) { add_unique(index.files, file.id(), &file, "file"); });
  for_each_record<image::PreDumpedTask>(records, [&](const auto& task) {
    add_unique(index.pre_dumped_tasks, task.pid(), &task, "pre-dumped task");
  });
  for_each_record<image::DescriptorTable>(records, [&](const auto& table) {
    add_unique(index.descriptor_tables, table.id(), &table, "descriptor table");
  });
  for_each_record<image::SeccompFilter>(records, [&](const auto& filter) {
    add_unique(index.seccomp_filters, filter.id(), &filter, "seccomp filter");
  });
  for_each_record<image::Superblock>(records, [&](const auto& superblock) {
    add_unique(index.superblocks, superblock.id(), &superblock, "superblock");
  });
  for_each_record<image::MountNamespace>(records, [&](const auto& space) {
    add_unique(index.mount_namespaces, space.id(), &space, "mount namespace");
  });
  for_each_record<image::CgroupSet>(
      records, [&](const auto& set) { add_unique(index.cgroup_sets, set.id(), &set, "cgroup set"); });
  for (const Record& record : records) {
    add_open_files(index, record);
  }
  return index;
}

}  // namespace

bool has_plain_content(const image::File& file) {
  constexpr unsigned kMemoryDevices = 1;                           // Documentation/admin-guide/devices.txt
  constexpr std::array<unsigned, 5> kPlainDevices{3, 5, 7, 8, 9};  // null, zero, full, random, urandom
  return S_ISREG(file.mode()) ||
         (S_ISCHR(file.mode()) && major(file.rdev()) == kMemoryDevices &&
          std::ranges::find(kPlainDevices, minor(file.rdev())) != kPlainDevices.end());
}

void require_path(std::string_view path, std::string_view what) {
  require(path.starts_with('/') && path.size() < PATH_MAX && path.find('\0') == std::string_view::npos,
          "{} isn't an absolute path", what);
}

void require_clocks(uint64_t monotonic, uint64_t boottime) {
  constexpr uint64_t kLatest = INT64_MAX / 2;  // proc_timens_set_offset of kernel/time/namespace.c
  require(monotonic <= kLatest && boottime <= kLatest,
          "its clocks show more than the kernel allows ({} and {} ns)", monotonic, boottime);
}

void validate(const std::vector<Record>& records, const PayloadSizes& payload_sizes) {
  // The header first: it says whether this reader understands the rest.
  if (!records.empty() && records.front().type == RecordType::Checkpoint) {
    with_context([] { return "header"; },
                 [&] { validate_header(static_cast<const image::Checkpoint&>(*records.front().message)); });
  }
  const ValidationIndex index = make_index(records);
  if (index.header->pre_dump()) {
    validate_pre_dump(records, index, payload_sizes);
    return;
  }
  validate_tasks(records, index);
  validate_namespaces(records, index);
  validate_cgroups(records, index);
  validate_mounts(index);
  validate_memory(index, payload_sizes);
  validate_descriptors(records, index);
}

}  // namespace godwit
