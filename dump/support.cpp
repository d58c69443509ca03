#include "dump/support.h"

#include "images-format/net_kind.h"

namespace godwit {

std::vector<SupportRow> net_device_support() {
  using enum SupportRow::Fate;
  std::vector<SupportRow> rows = {{"loopback", Kept, "all of it"}};
  for (const NetDeviceKind& kind : net_device_kinds()) {
    rows.push_back({kind.name, Kept, kind.kept});
  }
  rows.push_back(
      {"any other, hardware too", Refused, "what it was told can't be read back, or not set anew"});
  return rows;
}

std::vector<SupportSection> support_table() {
  return {
      {"Descriptors", descriptor_support()},     {"Mappings", mapping_support()},
      {"Namespaces", namespace_support()},       {"File systems that are mounted", mount_support()},
      {"Network devices", net_device_support()},
  };
}

}  // namespace godwit
