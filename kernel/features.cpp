#include "kernel/features.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>

#include "kernel/error.h"
#include "kernel/feature_probes.h"

namespace godwit {

namespace {

constexpr std::array<FeatureInfo, kFeatureCount> kTable{{
    {Feature::PidfdGetfd, "pidfd_getfd", {5, 6}, "looking into descriptors of other tasks", ""},
    {Feature::Kcmp, "kcmp", {3, 5}, "telling which descriptors share an open file description", ""},
    {Feature::MapFiles,
     "map_files",
     {3, 3},
     "files behind mappings, also when they have lost their name",
     ""},
    {Feature::PrSetMmMap,
     "pr_set_mm_map",
     {3, 18},
     "giving a task its exe link, heap and arguments back",
     ""},
    {Feature::Clone3SetTid, "clone3_set_tid", {5, 5}, "giving tasks and threads their ids back", ""},
    {Feature::SuspendSeccomp,
     "suspend_seccomp",
     {4, 3},
     "working inside tasks under a seccomp filter",
     "tasks under seccomp are refused"},
    {Feature::SeccompGetFilter,
     "seccomp_get_filter",
     {4, 4},
     "reading the seccomp filters of a task",
     "tasks under a seccomp filter are refused"},
    {Feature::RseqConfiguration,
     "get_rseq_configuration",
     {5, 13},
     "restartable sequences, which glibc registers in every thread",
     ""},
    {Feature::PagemapScan,
     "pagemap_scan",
     {6, 7},
     "finding pages quickly, and which were written",
     "/proc/PID/pagemap is read"},
    {Feature::PagemapPfn,
     "pagemap_pfn",
     {2, 6},
     "telling which pages parent and child share copy-on-write",
     "pages are compared by content"},
    {Feature::SoftDirty, "soft_dirty", {3, 11}, "nothing yet", "writes are tracked by userfaultfd_wp_async"},
    {Feature::UserfaultfdWpAsync,
     "userfaultfd_wp_async",
     {6, 7},
     "tracking writes between two dumps",
     "pre-dumps are refused, and every page counts as written"},
    {Feature::ProcmapQuery, "procmap_query", {6, 11}, "asking for single mappings", "/proc/PID/maps is read"},
    {Feature::ProcessMadvise,
     "process_madvise",
     {5, 10},
     "advice about the memory of another task",
     "the task itself is made to give it"},
    {Feature::Ksm, "ksm", {2, 6}, "mappings marked MADV_MERGEABLE", "the mark is lost, with a warning"},
    {Feature::AnonVmaName, "anon_vma_name", {5, 17}, "names of anonymous mappings", "the names are lost"},
    {Feature::Mseal, "mseal", {6, 10}, "sealed mappings", "there can't be any"},
    {Feature::MemfdSecret,
     "memfd_secret",
     {5, 14},
     "memory that is secret even to the kernel",
     "there can't be any"},
    {Feature::PosixTimerRestoreIds,
     "posix_timer_restore_ids",
     {6, 15},
     "giving POSIX timers their ids back",
     "timers are made and deleted until the id comes round"},
    {Feature::CloseRange,
     "close_range",
     {5, 9},
     "closing many descriptors at once",
     "they are closed one by one"},
    {Feature::Openat2,
     "openat2",
     {5, 6},
     "opening files without following links out of a root",
     "openat is used"},
    {Feature::CloneIntoCgroup,
     "clone_into_cgroup",
     {5, 7},
     "making tasks in their cgroup",
     "they are moved there afterwards"},
    {Feature::CgroupV1Freezer,
     "cgroup_v1_freezer",
     {2, 6},
     "freezing a whole cgroup v1 at once",
     "tasks are stopped one by one"},
    {Feature::CgroupV2Freezer,
     "cgroup_v2_freezer",
     {5, 2},
     "freezing a whole cgroup v2 at once",
     "tasks are stopped one by one"},
    {Feature::Statmount, "statmount", {6, 8}, "asking for single mounts", "mountinfo is read"},
    {Feature::Listmount, "listmount", {6, 8}, "listing the mounts of a namespace", "mountinfo is read"},
    {Feature::MoveMountSetGroup,
     "move_mount_set_group",
     {5, 15},
     "giving mounts their peer groups back",
     "mount namespaces with shared mounts are refused"},
    {Feature::TimeNamespace,
     "time_namespace",
     {5, 6},
     "trees with clocks of their own; monotonic clocks that go on under another boot",
     "the former can't be restored; the latter jump"},
    {Feature::CapSysPtrace, "cap_sys_ptrace", {2, 2}, "reaching into tasks of any user", ""},
    {Feature::CapSysAdmin,
     "cap_sys_admin",
     {2, 2},
     "suspending seccomp; namespaces and mounts",
     "tasks under seccomp or in namespaces of their own are refused"},
    {Feature::CapCheckpointRestore,
     "cap_checkpoint_restore",
     {5, 9},
     "ids and exe links without cap_sys_admin",
     "cap_sys_admin serves instead"},
    {Feature::CapSysResource,
     "cap_sys_resource",
     {2, 2},
     "raising hard limits, lowering oom_score_adj",
     "what is in force already stays; what can't be set is a warning"},
}};

static_assert([] {
  for (size_t i = 0; i < kFeatureCount; ++i) {
    if (static_cast<size_t>(kTable[i].feature) != i) {
      return false;
    }
  }
  return true;
}());

size_t index_of(Feature feature) {
  return static_cast<size_t>(feature);
}

enum : uint8_t { kUnknown, kPresent, kAbsent };
// Two threads that ask at once probe twice and find the same.
std::array<std::atomic<uint8_t>, kFeatureCount> answers;

std::array<bool, kFeatureCount>& hidden_set();

KernelVersion parse_version(std::string_view text) {
  KernelVersion version{};
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, version.major);
  if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.') {
    throw error("'{}' isn't a kernel version such as 5.15", text);
  }
  const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
  if (minor.ec != std::errc{} || minor.ptr != end) {
    throw error("'{}' isn't a kernel version such as 5.15", text);
  }
  return version;
}

void hide_one(std::array<bool, kFeatureCount>& set, std::string_view name) {
  constexpr std::string_view kNewerThan = "newer-than-";
  if (name.starts_with(kNewerThan)) {
    const KernelVersion limit = parse_version(name.substr(kNewerThan.size()));
    for (const FeatureInfo& row : kTable) {
      set[index_of(row.feature)] |= row.since > limit;
    }
    return;
  }
  const auto row = std::find_if(kTable.begin(), kTable.end(), [&](const auto& r) { return r.name == name; });
  if (row == kTable.end()) {
    throw Error(fmt::format("no kernel feature is called '{}'", name), 0, "'godwit check' lists them");
  }
  set[index_of(row->feature)] = true;
}

void hide_list(std::array<bool, kFeatureCount>& set, std::string_view list) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (comma > 0) {
      hide_one(set, list.substr(0, comma));
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

std::array<bool, kFeatureCount>& hidden_set() {
  static std::array<bool, kFeatureCount> set = [] {
    std::array<bool, kFeatureCount> from_environment{};
    if (const char* list = std::getenv("GODWIT_HIDE_FEATURES")) {
      hide_list(from_environment, list);
    }
    return from_environment;
  }();
  return set;
}

}  // namespace

std::span<const FeatureInfo> feature_table() {
  return kTable;
}

const FeatureInfo& info(Feature feature) {
  return kTable[index_of(feature)];
}

bool hidden(Feature feature) {
  return hidden_set()[index_of(feature)];
}

bool has(Feature feature) {
  if (hidden(feature)) {
    return false;
  }
  std::atomic<uint8_t>& answer = answers[index_of(feature)];
  if (answer.load(std::memory_order_relaxed) == kUnknown) {
    answer.store(probe(feature) ? kPresent : kAbsent, std::memory_order_relaxed);
  }
  return answer.load(std::memory_order_relaxed) == kPresent;
}

Presence presence(Feature feature) {
  if (hidden(feature)) {
    return Presence::Hidden;
  }
  return has(feature) ? Presence::Present : Presence::Absent;
}

void hide_features(std::string_view list) {
  hide_list(hidden_set(), list);
}

}  // namespace godwit
