#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// What this kernel, its configuration and our privileges allow. Each feature is probed once, when it is
/// first asked for, by trying it harmlessly: versions are never compared. A feature can be hidden, so that
/// what godwit does without it can be tested on any kernel.
namespace godwit {

enum class Feature : uint8_t {
  PidfdGetfd,
  Kcmp,
  MapFiles,
  PrSetMmMap,
  Clone3SetTid,
  SuspendSeccomp,
  SeccompGetFilter,
  RseqConfiguration,
  PagemapScan,
  PagemapPfn,
  SoftDirty,
  UserfaultfdWpAsync,
  ProcmapQuery,
  ProcessMadvise,
  Ksm,
  AnonVmaName,
  Mseal,
  MemfdSecret,
  PosixTimerRestoreIds,
  CloseRange,
  Openat2,
  CloneIntoCgroup,
  CgroupV1Freezer,
  CgroupV2Freezer,
  Statmount,
  Listmount,
  MoveMountSetGroup,
  TimeNamespace,
  CapSysPtrace,
  CapSysAdmin,
  CapCheckpointRestore,
  CapSysResource,
};
inline constexpr size_t kFeatureCount = static_cast<size_t>(Feature::CapSysResource) + 1;

struct KernelVersion {
  int major;
  int minor;
  constexpr auto operator<=>(const KernelVersion&) const = default;
};

struct FeatureInfo {
  Feature feature;
  std::string_view name;
  KernelVersion since;  // for people, and for hiding by age; nothing is decided by it
  std::string_view needed_for;
  std::string_view without;  // what happens where it is absent; empty: it is required
  [[nodiscard]] bool required() const { return without.empty(); }
};

enum class Presence : uint8_t { Present, Absent, Hidden };

/// One row a feature, in the order of the enumeration.
[[nodiscard]] std::span<const FeatureInfo> feature_table();
[[nodiscard]] const FeatureInfo& info(Feature feature);

/// Whether the feature may be used. The first call for a feature probes it; most probes take some
/// microseconds, those that need a child process (SuspendSeccomp, SeccompGetFilter, RseqConfiguration,
/// TimeNamespace) or a cgroup of their own about a hundred. Where speed counts, try the real thing instead
/// and ask hidden(). Thread-safe.
[[nodiscard]] bool has(Feature feature);
[[nodiscard]] Presence presence(Feature feature);
/// Whether the feature must be treated as absent, whatever the kernel says. Never probes.
[[nodiscard]] bool hidden(Feature feature);

/// `list`: names separated by commas; `newer-than-5.15` stands for all that came later. What the
/// environment's GODWIT_HIDE_FEATURES names is hidden from the start. Throws Error for a name that doesn't
/// exist. Before any other thread exists.
void hide_features(std::string_view list);

}  // namespace godwit
