#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <map>
#include <string>

#include "dump/net.h"
#include "images-format/net_kind.h"
#include "kernel/error.h"
#include "kernel/log.h"

namespace godwit {

namespace {

// What a device can be told; the rest tells how it is. See dev_change_flags in the kernel.
constexpr uint32_t kSettableFlags = IFF_UP | IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_PROMISC |
                                    IFF_ALLMULTI | IFF_MULTICAST | IFF_PORTSEL | IFF_AUTOMEDIA | IFF_DYNAMIC;

bool is_zero(const std::string& value) {
  return value.find_first_not_of('\0') == std::string::npos;
}

std::string value_of(const NetDevice::Settings& settings, uint16_t type) {
  const auto found = settings.find(type);
  return found == settings.end() ? "" : found->second;
}

void add_attribute(google::protobuf::RepeatedPtrField<image::NetAttribute>& list, uint16_t type,
                   const std::string& value) {
  image::NetAttribute& attribute = *list.Add();
  attribute.set_type(type);
  attribute.set_value(value);
}

void collect_settings(const std::string& who, const NetDevice::Settings& settings,
                      std::span<const NetDeviceSetting> known,
                      google::protobuf::RepeatedPtrField<image::NetAttribute>& kept) {
  using Use = NetDeviceSetting::Use;
  for (const auto& [type, value] : settings) {
    const NetDeviceSetting* setting = find_setting(known, type);
    if (setting == nullptr) {
      log::warning("{}: its attribute {} isn't known, and not kept", who, type);
    } else if (setting->use == Use::Zero && !is_zero(value)) {
      throw refusal("{} with {}", who, setting->name);
    } else if (setting->use == Use::Flag && !is_zero(value)) {
      add_attribute(kept, type, "");
    } else if (setting->use == Use::Keep) {
      if (setting->bytes != 0 && value.size() != setting->bytes) {
        throw refusal("{} whose attribute {} has {} bytes", who, type, value.size());
      }
      add_attribute(kept, type, value);
    }
  }
}

class Devices {
 public:
  Devices(netlink::Connection& connection, const DumpOptions& options) : options_(options) {
    for (NetDevice& device : list_net_devices(connection)) {
      if (!is_fallback(device)) {
        devices_.emplace(device.index, std::move(device));
      }
    }
  }

  void collect(image::NetNamespace& record) const {
    for (const auto& [index, device] : devices_) {
      image::NetDevice& made = *record.add_devices();
      collect(device, made);
      if (device.loopback) {
        record.set_loopback_up((device.flags & IFF_UP) != 0);
      }
    }
  }

 private:
  void collect(const NetDevice& device, image::NetDevice& record) const {
    const std::string who = fmt::format("network device {}", device.name);
    record.set_index(device.index);
    record.set_name(device.name);
    record.set_flags(device.flags & kSettableFlags);
    record.set_address(device.address);
    record.set_broadcast(device.broadcast);
    record.set_mtu(device.mtu);
    record.set_queue_length(device.queue_length);
    record.set_group(device.group);
    record.set_transmit_queues(device.transmit_queues);
    record.set_receive_queues(device.receive_queues);
    record.set_alias(device.alias);
    record.mutable_alternative_names()->Assign(device.alternative_names.begin(),
                                               device.alternative_names.end());
    record.set_ipv6_address_mode(device.ipv6_address_mode);
    if (!is_zero(device.ipv6_token)) {
      record.set_ipv6_token(device.ipv6_token);
    }
    record.set_link_mode(device.link_mode);
    record.set_protocol_down(device.protocol_down);
    for (const auto& [type, value] : device.limits) {
      add_attribute(*record.mutable_limits(), type, value);
    }
    if (device.has_program) {
      throw refusal("{} with an XDP program", who);
    }
    if (device.loopback) {
      if (device.name != "lo") {
        throw refusal("the loopback device under another name, {},", device.name);
      }
      return;
    }
    collect_kind(who, device, record);
    collect_master(who, device, record);
  }

  void collect_kind(const std::string& who, const NetDevice& device, image::NetDevice& record) const {
    if (device.kind.empty()) {
      throw refusal("{} (hardware, or of a kind that the kernel doesn't name)", who);
    }
    const NetDeviceKind* kind = find_net_device_kind(device.kind);
    if (kind == nullptr) {
      throw refusal("{} of kind {}", who, device.kind);
    }
    record.set_kind(device.kind);
    collect_settings(who, device.settings, kind->settings, *record.mutable_settings());
    if (device.kind == "veth" && device.lower_namespace) {
      record.set_external(name_outside(who, device));
      return;
    }
    if (device.kind == "veth") {
      check_peer(who, device);
    }
    const bool stands = kind->lower == NetDeviceKind::Lower::Always || device.kind == "veth" ||
                        (kind->lower == NetDeviceKind::Lower::Perhaps && device.lower != 0);
    if (device.lower_namespace || (stands && !devices_.contains(device.lower))) {
      throw refusal("{} ({}) that stands on another network namespace", who, device.kind);
    }
    if (stands) {
      record.set_lower(device.lower);
    }
    if (device.kind == "tun" && is_zero(value_of(device.settings, IFLA_TUN_PERSIST))) {
      throw refusal("{} (tun) that goes with who has it open", who);
    }
  }

  [[nodiscard]] std::string name_outside(const std::string& who, const NetDevice& device) const {
    const auto named = std::ranges::find_if(options_.external, [&](const ExternalResource& one) {
      return one.kind == "veth" && one.what == device.name;
    });
    if (named != options_.external.end() && !named->name.empty()) {
      return named->name;
    }
    if (options_.external_veths) {
      return "outside";
    }
    throw Error(
        fmt::format("{} (veth), whose other end is in another network namespace, isn't supported yet", who),
        0,
        fmt::format("say --external veth[{}]:NAME, and at the restore what its other end is to be",
                    device.name));
  }

  void check_peer(const std::string& who, const NetDevice& device) const {
    const auto peer = devices_.find(device.lower);
    if (peer == devices_.end() || peer->second.kind != "veth" || peer->second.lower != device.index) {
      throw refusal("{} (veth) whose other end is in another network namespace", who);
    }
  }

  void collect_master(const std::string& who, const NetDevice& device, image::NetDevice& record) const {
    if (device.master == 0) {
      return;
    }
    const auto master = devices_.find(device.master);
    if (master == devices_.end() || device.port_kind != "bridge") {
      throw refusal("{} as a part of a device of kind {}", who,
                    device.port_kind.empty() ? "unknown" : device.port_kind);
    }
    record.set_master(device.master);
    collect_settings(who, device.port, bridge_port_settings(), *record.mutable_port());
  }

  const DumpOptions& options_;
  std::map<uint32_t, NetDevice> devices_;
};

}  // namespace

void collect_net_devices(netlink::Connection& connection, image::NetNamespace& record,
                         const DumpOptions& options) {
  Devices(connection, options).collect(record);
}

}  // namespace godwit
