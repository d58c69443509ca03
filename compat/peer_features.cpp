#include "compat/peer_features.h"

#include <algorithm>

#include "kernel/error.h"
#include "kernel/features.h"
#include "kernel/log.h"
#include "kernel/userfaultfd.h"

namespace godwit::compat {

namespace {

/// Names by which clients ask, and what they stand for here.
struct PeerFeature {
  std::string_view name;
  bool (*present)();
};

template <Feature Which>
bool probed() {
  return has(Which);
}
/// What it is for is done in another way, or by what every supported kernel has.
bool always() {
  return true;
}
/// godwit doesn't do what it is for.
bool never() {
  return false;
}

constexpr PeerFeature kFeatures[] = {
    {"aio_remap", never},
    {"autofs", never},
    {"can_map_vdso", always},
    {"cgroupns", always},
    {"clone3_set_tid", probed<Feature::Clone3SetTid>},
    {"external_net_ns", always},
    {"fdinfo_lock", always},
    {"get_rseq_conf", probed<Feature::RseqConfiguration>},
    {"has_ipt_legacy", never},
    {"ipv6_freebind", never},
    {"kcmp_epoll", always},
    {"lazy_pages", never},
    {"link_nsid", never},
    {"loginuid", never},
    {"mem_dirty_track", userfaultfd::can_track_writes},
    {"move_mount_set_group", probed<Feature::MoveMountSetGroup>},
    {"net_diag_raw", never},
    {"network_lock_nftables", always},
    {"newifindex", always},
    {"nftables", never},
    {"nsid", never},
    {"openat2", probed<Feature::Openat2>},
    {"pagemap_scan", probed<Feature::PagemapScan>},
    {"pidfd_getfd", probed<Feature::PidfdGetfd>},
    {"pidfd_store", never},
    {"ptrace_get_rseq_conf", probed<Feature::RseqConfiguration>},
    {"rseq", always},
    {"seccomp_filters", probed<Feature::SeccompGetFilter>},
    {"seccomp_suspend", probed<Feature::SuspendSeccomp>},
    {"sk_ns", never},
    {"sk_unix_file", never},
    {"tcp_half_closed", never},
    {"timens", never},
    {"timer_cr_ids", probed<Feature::PosixTimerRestoreIds>},
    {"timerfd", always},
    {"tun", never},
    {"tun_ns", never},
    {"uffd", never},
    {"uffd-noncoop", never},
    {"userns", never},
};

}  // namespace

void check_machine_features() {
  std::string missing;
  for (const FeatureInfo& row : feature_table()) {
    if (row.required() && !has(row.feature)) {
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", row.name);
    }
  }
  if (!missing.empty()) {
    throw Error("required, but not there: " + missing, ENOSYS, "a kernel of 5.15 or newer, and root");
  }
}

bool has_peer_features(const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [](const std::string& name) {
    const auto* const row = std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                         [&](const PeerFeature& feature) { return feature.name == name; });
    if (row == std::end(kFeatures)) {
      log::write(log::Level::Error, fmt::format("feature {} is unknown", name));
      return false;
    }
    const bool there = row->present();
    if (!there) {
      log::warning("feature {} isn't there", name);
    }
    return there;
  });
}

}  // namespace godwit::compat
