#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "images-format/net_filter.h"
#include "images-format/net_kind.h"
#include "images-format/validate_index.h"
#include "kernel/net_device.h"
#include "kernel/next_hop.h"
#include "kernel/nftables.h"
#include "kernel/rtnetlink.h"

namespace godwit {

namespace {

using rtnetlink::Table;
using Attributes = google::protobuf::RepeatedPtrField<image::NetAttribute>;
using Devices = std::map<uint32_t, const image::NetDevice*>;

constexpr size_t kMaxName = 15;              // IFNAMSIZ
constexpr size_t kMaxAlternativeName = 127;  // ALTIFNAMSIZ
constexpr size_t kMaxAlias = 255;            // IFALIASZ
constexpr size_t kMaxAddress = 32;           // MAX_ADDR_LEN
constexpr size_t kTokenBytes = 16;
constexpr uint32_t kMaxQueues = 4096;  // of rtnetlink
constexpr size_t kMaxAttribute = 32UL << 10;
constexpr size_t kMaxEntry = 32UL << 10;
constexpr size_t kMaxValue = 1UL << 20;
constexpr size_t kMaxFilterPart = 64UL << 10;
constexpr size_t kMaxFilter = 256UL << 20;  // it is loaded by one message

/// As dev_valid_name in the kernel.
void require_name(const std::string& name, size_t most) {
  const bool plain = std::ranges::none_of(
      name, [](char c) { return c == '\0' || c == '/' || c == ':' || (c >= '\t' && c <= '\r') || c == ' '; });
  require(!name.empty() && name.size() <= most && plain && name != "." && name != "..",
          "a name of {} bytes that no device can have", name.size());
}

void validate_settings(const Attributes& attributes, std::span<const NetDeviceSetting> known) {
  using Use = NetDeviceSetting::Use;
  std::set<uint32_t> types;
  for (const image::NetAttribute& attribute : attributes) {
    const NetDeviceSetting* setting = attribute.type() <= UINT16_MAX
                                          ? find_setting(known, static_cast<uint16_t>(attribute.type()))
                                          : nullptr;
    require(setting != nullptr && (setting->use == Use::Keep || setting->use == Use::Flag),
            "it has an attribute {}", attribute.type());
    require(types.insert(attribute.type()).second, "it has attribute {} twice", attribute.type());
    require(setting->use != Use::Flag || attribute.value().empty(), "its attribute {} has a value",
            attribute.type());
    require(setting->bytes == 0 ? attribute.value().size() <= kMaxAttribute
                                : attribute.value().size() == setting->bytes,
            "its attribute {} has {} bytes", attribute.type(), attribute.value().size());
  }
}

void validate_limits(const Attributes& limits) {
  for (const image::NetAttribute& limit : limits) {
    require(std::ranges::find(kNetDeviceLimits, limit.type()) != std::end(kNetDeviceLimits) &&
                limit.value().size() == sizeof(uint32_t),
            "it has a limit {} of {} bytes", limit.type(), limit.value().size());
  }
}

void validate_kind(const image::NetDevice& device, const Devices& devices) {
  if (device.kind().empty()) {
    require(device.index() == 1 && device.name() == "lo" && device.lower() == 0 && device.master() == 0 &&
                device.settings().empty() && device.port().empty(),
            "it has no kind, and isn't the loopback device");
    return;
  }
  const NetDeviceKind* kind = find_net_device_kind(device.kind());
  require(kind != nullptr, "its kind is unknown");
  require(device.index() != 1, "it has the number of the loopback device");
  validate_settings(device.settings(), kind->settings);
  if (!device.external().empty()) {
    require(device.kind() == "veth" && device.lower() == 0, "its other end can't be outside");
    require(device.external().size() <= kMaxAlias && device.external().find('\0') == std::string::npos,
            "its other end's name has {} bytes", device.external().size());
  } else if (device.kind() == "veth") {
    const auto peer = devices.find(device.lower());
    require(peer != devices.end() && peer->second != &device && peer->second->kind() == "veth" &&
                peer->second->lower() == device.index(),
            "its other end, {}, isn't there", device.lower());
  } else {
    const bool stands = kind->lower == NetDeviceKind::Lower::Always ||
                        (kind->lower == NetDeviceKind::Lower::Perhaps && device.lower() != 0);
    require(stands ? devices.contains(device.lower()) : device.lower() == 0, "it stands on device {}",
            device.lower());
  }
}

void validate_master(const image::NetDevice& device, const Devices& devices) {
  if (device.master() == 0) {
    require(device.port().empty(), "it has a port's attributes");
    return;
  }
  const auto master = devices.find(device.master());
  require(master != devices.end() && master->second->kind() == "bridge", "its master, {}, isn't there",
          device.master());
  validate_settings(device.port(), bridge_port_settings());
}

constexpr size_t kDeepest = 8;  // MAX_NEST_DEV

/// Devices stand on each other without end.
void require_no_circle(const image::NetDevice& device, const Devices& devices) {
  const image::NetDevice* at = &device;
  for (size_t steps = 0; at->kind() != "veth" && at->lower() != 0; ++steps) {
    require(steps <= kDeepest, "it stands on itself, or on more than {} others", kDeepest);
    at = devices.at(at->lower());
  }
}

void validate_device(const image::NetDevice& device, const Devices& devices) {
  require_name(device.name(), kMaxName);
  require(device.alias().size() <= kMaxAlias && device.alias().find('\0') == std::string::npos,
          "its alias has {} bytes", device.alias().size());
  require(device.address().size() <= kMaxAddress && device.broadcast().size() <= kMaxAddress,
          "its address has {} bytes", device.address().size());
  for (const std::string& name : device.alternative_names()) {
    require_name(name, kMaxAlternativeName);
  }
  require(device.transmit_queues() <= kMaxQueues && device.receive_queues() <= kMaxQueues,
          "it has {} and {} queues", device.transmit_queues(), device.receive_queues());
  require(device.ipv6_address_mode() <= UINT8_MAX && device.link_mode() <= UINT8_MAX, "its modes");
  require(device.ipv6_token().empty() || device.ipv6_token().size() == kTokenBytes,
          "its IPv6 token has {} bytes", device.ipv6_token().size());
  validate_limits(device.limits());
  validate_kind(device, devices);
  validate_master(device, devices);
}

void validate_entries(Table table, const google::protobuf::RepeatedPtrField<std::string>& entries,
                      const Devices& devices) {
  for (const std::string& entry : entries) {
    require(entry.size() >= rtnetlink::fixed_size(table) && entry.size() <= kMaxEntry, "{} of {} bytes",
            rtnetlink::name_of(table), entry.size());
    if (table == Table::Address || table == Table::Route) {
      const int family = rtnetlink::family_of(entry);
      require(family == AF_INET || family == AF_INET6, "{} of family {}", rtnetlink::name_of(table), family);
    }
    require((table == Table::Forwarding) == (rtnetlink::family_of(entry) == AF_BRIDGE), "{} of family {}",
            rtnetlink::name_of(table), rtnetlink::family_of(entry));
    for (const uint32_t index : rtnetlink::devices_of(table, entry)) {
      require(devices.contains(index), "{} on network device {}, which isn't there",
              rtnetlink::name_of(table), index);
    }
  }
}

/// What the parts say is the kernel's to judge, as if nft(8) had said it.
void validate_nftables(const google::protobuf::RepeatedPtrField<image::NetFilterPart>& parts) {
  size_t total = 0;
  for (const image::NetFilterPart& part : parts) {
    total += part.payload().size();
    require(nftables::is_part(part.type()) && part.payload().size() >= sizeof(nfgenmsg) &&
                part.payload().size() <= kMaxFilterPart && total <= kMaxFilter,
            "a part of an nftables ruleset, of type {} and {} bytes", part.type(), part.payload().size());
  }
}

/// The kernel checks what the entries say, and that offsets lead to them.
void validate_legacy_filters(const google::protobuf::RepeatedPtrField<image::LegacyFilterTable>& tables) {
  std::set<std::pair<int, std::string_view>> names;
  for (const image::LegacyFilterTable& record : tables) {
    require(image::LegacyFilterTable::Family_IsValid(record.family()), "a legacy table of family {}",
            static_cast<int>(record.family()));
    const xtables::Table table = legacy_filter(record);
    const size_t hooks = xtables::hooks_of(table.family);
    require(
        xtables::is_known(table.family, table.name) && names.emplace(record.family(), record.name()).second,
        "a legacy table of an unknown name, or one that is there twice");
    require(table.hook_entries.size() == hooks && table.underflows.size() == hooks, "{} has {} and {} hooks",
            xtables::describe(table), table.hook_entries.size(), table.underflows.size());
    require(table.entries.size() <= kMaxFilter, "{} has {} bytes", xtables::describe(table),
            table.entries.size());
    try {
      static_cast<void>(xtables::count(table));
    } catch (const Error& e) {
      throw damaged("{}", e.what());
    }
  }
}

void validate_connections(const google::protobuf::RepeatedPtrField<std::string>& entries) {
  for (const std::string& entry : entries) {
    require(entry.size() >= sizeof(nfgenmsg) && entry.size() <= kMaxFilterPart,
            "a tracked connection of {} bytes", entry.size());
  }
}

/// Below /proc/sys/net, and nowhere else.
void require_setting_path(std::string_view path) {
  require(!path.empty() && path.size() < NAME_MAX && path.find('\0') == std::string_view::npos,
          "a setting's name has {} bytes", path.size());
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    require(!part.empty() && part != "." && part != "..", "a setting's name leads elsewhere");
    at = end + 1;
  }
}

}  // namespace

void validate_net(const image::NetNamespace& record) {
  Devices devices;
  std::set<std::string_view> names;
  for (const image::NetDevice& device : record.devices()) {
    require(
        device.index() > 0 && device.index() <= INT_MAX && devices.emplace(device.index(), &device).second,
        "network device {} is there twice, or can't be", device.index());
    require(names.insert(device.name()).second, "two network devices have one name");
  }
  for (const auto& [index, device] : devices) {
    with_context([&, i = index] { return fmt::format("network device {}", i); },
                 [&, d = device] { validate_device(*d, devices); });
  }
  for (const auto& [index, device] : devices) {
    require_no_circle(*device, devices);
  }
  validate_entries(Table::Address, record.addresses(), devices);
  validate_entries(Table::Rule, record.rules(), devices);
  validate_entries(Table::Route, record.routes(), devices);
  validate_entries(Table::Neighbour, record.neighbours(), devices);
  validate_entries(Table::AddressLabel, record.address_labels(), devices);
  validate_entries(Table::Forwarding, record.forwarding(), devices);
  validate_nftables(record.nftables());
  validate_legacy_filters(record.legacy_filters());
  validate_connections(record.tracked_connections());
  validate_connections(record.expected_connections());
  for (const image::NetSetting& setting : record.settings()) {
    require_setting_path(setting.path());
    require(setting.value().size() <= kMaxValue, "the setting {} has {} bytes", setting.path(),
            setting.value().size());
  }
}

}  // namespace godwit
