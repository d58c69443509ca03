#include "dump/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "dump/support.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

using procfs::Map;
using procfs::VmFlag;

/// The page of system calls above all user space, which every process has and none can change.
constexpr uint64_t kVsyscall = 0xffffffffff600000;

constexpr std::pair<VmFlag, int> kAdvice[] = {
    {VmFlag::RandomRead, MADV_RANDOM}, {VmFlag::SequentialRead, MADV_SEQUENTIAL},
    {VmFlag::DontCopy, MADV_DONTFORK}, {VmFlag::Mergeable, MADV_MERGEABLE},
    {VmFlag::HugePage, MADV_HUGEPAGE}, {VmFlag::NoHugePage, MADV_NOHUGEPAGE},
    {VmFlag::DontDump, MADV_DONTDUMP}, {VmFlag::WipeOnFork, MADV_WIPEONFORK},
};

struct RefusedFlag {
  VmFlag flag;
  std::string_view object;
  std::string_view why;
};

constexpr std::string_view kEventsOfOthers = "whoever holds its descriptor answers its faults";
constexpr std::string_view kNoPages = "it has no pages that could be read or put back";

constexpr RefusedFlag kRefusedFlags[] = {
    {VmFlag::ShadowStack, "shadow stack", "only the CPU writes there"},
    {VmFlag::HugeTlb, "hugetlb", "pages from the pool of huge ones aren't looked after yet"},
    {VmFlag::UserfaultMissing, "userfaultfd", kEventsOfOthers},
    {VmFlag::UserfaultWp, "userfaultfd", kEventsOfOthers},
    {VmFlag::UserfaultMinor, "userfaultfd", kEventsOfOthers},
    {VmFlag::Droppable, "MAP_DROPPABLE", "the kernel takes its pages away at any time"},
    {VmFlag::Guarded, "guard pages", "most kernels don't show which pages they are"},
    {VmFlag::Io, "memory of a device", kNoPages},
    {VmFlag::PfnMap, "memory of a device", kNoPages},
    {VmFlag::MixedMap, "memory of a device", kNoPages},
};

/// Files without a name in any file system that a mapping can have.
constexpr Refused kRefusedPaths[] = {
    {"/[aio]", "AIO ring", "requests in flight can't be read"},
    {"/secretmem", "memfd_secret", "nobody but the task itself can read it"},
    {"/anon_hugepage", "hugetlb", "pages from the pool of huge ones aren't looked after yet"},
    {"anon_inode:[io_uring]", "io_uring", "requests in flight can't be read"},
};

/// On the kernel's own tmpfs; elsewhere a file may have such a name.
constexpr Refused kSystemV = {"/SYSV", "System V shared memory", "segments aren't looked after yet"};

/// NAME of "[anon:NAME]" or "[anon_shmem:NAME]".
std::string_view anonymous_name(std::string_view path) {
  for (const std::string_view prefix : {"[anon:", "[anon_shmem:"}) {
    if (path.starts_with(prefix) && path.ends_with(']')) {
      return path.substr(prefix.size(), path.size() - prefix.size() - 1);
    }
  }
  return {};
}

std::string link_of(pid_t pid, const Map& map) {
  return fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, map.start, map.end);
}

void describe_flags(const Map& map, image::Mapping& record) {
  record.set_may_write(map.shared && map.has(VmFlag::MayWrite));
  record.set_grows_down(map.has(VmFlag::GrowsDown));
  record.set_locked(map.has(VmFlag::Locked));
  record.set_lock_on_fault(map.has(VmFlag::LockOnFault));
  record.set_no_reserve(map.has(VmFlag::NoReserve));
  record.set_sealed(map.has(VmFlag::Sealed));
  for (const auto& [flag, advice] : kAdvice) {
    if (map.has(flag)) {
      record.add_advice(static_cast<uint32_t>(advice));
    }
  }
}

/// Paths first: they say more than flags.
void refuse(const Map& map) {
  for (const auto& [path, object, why] : kRefusedPaths) {
    if (map.path.starts_with(path)) {
      throw refusal("{}", object).hint(std::string(why));
    }
  }
  for (const auto& [flag, object, why] : kRefusedFlags) {
    if (map.has(flag)) {
      throw refusal("{}", object).hint(std::string(why));
    }
  }
}

void describe_place(const Map& map, image::Mapping& record) {
  record.set_start(map.start);
  record.set_end(map.end);
  record.set_prot(static_cast<uint32_t>(map.prot));
  record.set_shared(map.shared);
}

/// The kernel's own, which every process has: true, and it has been described.
bool describe_kernels(const Map& map, image::Mapping& record) {
  if (map.inode == 0 && map.path.starts_with("[vvar")) {
    record.set_backing(image::Mapping::VVAR);
    return true;
  }
  if (map.inode == 0 && map.path == "[vdso]") {
    record.set_backing(image::Mapping::VDSO);
    record.set_sealed(map.has(VmFlag::Sealed));
    return true;
  }
  return false;
}

/// What has to be known of each mapping but the vsyscall page, and what can't be kept, in its context.
template <typename Body>
void for_each_mapping(const std::vector<Map>& maps, Body&& body) {
  for (const Map& map : maps) {
    if (map.start != kVsyscall) {
      with_context([&] { return fmt::format("mapping {:x}-{:x}", map.start, map.end); }, [&] { body(map); });
    }
  }
}

}  // namespace

void describe_layout(const std::vector<Map>& maps, image::Mm& record) {
  for_each_mapping(maps, [&](const Map& map) {
    image::Mapping& mapping = *record.add_mappings();
    describe_place(map, mapping);
    if (!describe_kernels(map, mapping)) {
      refuse(map);
      mapping.set_backing(map.inode != 0 ? image::Mapping::FILE : image::Mapping::ANONYMOUS);
    }
  });
}

MappingCollector::MappingCollector(FileTable& files, SharedMemoryTable& shared_memory)
    : files_(files), shared_memory_(shared_memory) {
  const Fd probe(::memfd_create("godwit", MFD_CLOEXEC));
  struct stat status {};
  if (!probe || ::fstat(probe.get(), &status) != 0) {
    throw errno_error("cannot make a memfd");
  }
  internal_tmpfs_ = status.st_dev;
}

void MappingCollector::collect(TaskState& task) {
  for_each_mapping(task.maps, [&](const Map& map) { describe(task.pid(), map, *task.mm.add_mappings()); });
}

void MappingCollector::describe(pid_t pid, const Map& map, image::Mapping& record) {
  describe_place(map, record);
  if (describe_kernels(map, record)) {
    return;
  }
  refuse(map);
  describe_flags(map, record);
  record.set_name(std::string(anonymous_name(map.path)));
  if (map.inode != 0) {
    record.set_offset(map.offset);
    describe_file(pid, map, record);
  } else if (!map.path.empty() && map.path != "[heap]" && map.path != "[stack]" && record.name().empty() &&
             !map.path.starts_with("[anon:")) {
    throw refusal("{}", map.path);
  }
}

void MappingCollector::describe_file(pid_t pid, const Map& map, image::Mapping& record) {
  if (map.device == internal_tmpfs_) {
    if (map.path.starts_with(kSystemV.shows_as)) {
      throw refusal("{}", kSystemV.object).hint(std::string(kSystemV.why));
    }
    uint32_t& id = shared_memory_ids_[map.inode];
    id = id != 0 ? id : shared_memory_.add(link_of(pid, map));
    record.set_backing(image::Mapping::SHARED_MEMORY);
    record.set_shared_memory_id(id);
    return;
  }
  if (!map.path.starts_with('/')) {
    throw refusal("{}", map.path);
  }
  uint32_t& id = file_ids_[{map.device, map.inode, map.path, !map.shared}];
  id = id != 0 ? id : files_.add(link_of(pid, map), !map.shared);
  record.set_backing(image::Mapping::FILE);
  record.set_file_id(id);
}

std::vector<SupportRow> mapping_support() {
  using enum SupportRow::Fate;
  std::vector<SupportRow> rows = {
      {"anonymous memory", Kept,
       "private and shared; addresses, protection, advice, locks, names, growth of stacks"},
      {"mapped files", Kept, "private and shared, also of files that have lost their names"},
      {"vdso and vvar", Kept, "of the same kernel build and CPU"},
  };
  const auto refused = [&](std::string_view object, std::string_view why) {
    if (std::ranges::find(rows, object, &SupportRow::object) == rows.end()) {
      rows.push_back({object, Refused, why});
    }
  };
  for (const auto& [path, object, why] : kRefusedPaths) {
    refused(object, why);
  }
  refused(kSystemV.object, kSystemV.why);
  for (const auto& [flag, object, why] : kRefusedFlags) {
    refused(object, why);
  }
  return rows;
}

}  // namespace godwit
