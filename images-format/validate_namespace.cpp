#include <algorithm>
#include <array>
#include <set>

#include "images-format/namespace.pb.h"
#include "images-format/validate_index.h"
#include "kernel/ipc_settings.h"

namespace godwit {

namespace {

constexpr std::array<std::string_view, 8> kKinds = {"cgroup", "ipc",  "mnt",  "net",
                                                    "pid",    "time", "user", "uts"};
constexpr size_t kMaxSetting = 256;
constexpr size_t kMaxName = 64;  // __NEW_UTS_LEN

void validate_one(const image::Namespace& record, const ValidationIndex& index) {
  const std::string& kind = record.kind();
  require(std::ranges::find(kKinds, kind) != kKinds.end(), "its kind is unknown");
  require(index.tasks.contains(record.task()), "task {} isn't there", record.task());
  const bool says = record.has_uts() || record.has_net() || record.has_ipc() || record.has_time();
  require(record.external().empty() || !says, "it is external and says what it holds");
  require(record.has_uts() ? kind == "uts" : kind != "uts" || !record.external().empty(),
          "host names belong to uts namespaces, and to each of them");
  require(!record.has_net() || kind == "net", "what a network namespace holds belongs to none of this kind");
  require(!record.has_ipc() || kind == "ipc", "what an ipc namespace holds belongs to none of this kind");
  require(record.has_time() ? kind == "time" : kind != "time" || !record.external().empty(),
          "clocks belong to time namespaces, and to each of them");
  require_clocks(record.time().monotonic_ns(), record.time().boottime_ns());
  for (const image::Setting& setting : record.ipc().settings()) {
    require(std::ranges::find(kIpcSettings, setting.name()) != kIpcSettings.end(), "a setting is unknown");
    require(setting.value().size() <= kMaxSetting, "{} has a value of {} bytes", setting.name(),
            setting.value().size());
  }
  require(record.uts().hostname().size() <= kMaxName && record.uts().domainname().size() <= kMaxName,
          "a host name of {} or domain name of {} bytes", record.uts().hostname().size(),
          record.uts().domainname().size());
  validate_net(record.net());
}

}  // namespace

void validate_namespaces(const std::vector<Record>& records, const ValidationIndex& index) {
  std::set<uint64_t> ids;
  for_each_record<image::Namespace>(records, [&](const image::Namespace& record) {
    with_context([&] { return fmt::format("namespace {} ({})", record.id(), record.kind().substr(0, 16)); },
                 [&] {
                   require(record.id() != 0 && ids.insert(record.id()).second, "it is there twice, or is 0");
                   validate_one(record, index);
                 });
  });
}

}  // namespace godwit
