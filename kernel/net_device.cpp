#include "kernel/net_device.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace godwit {

namespace {

std::string bytes_of(std::span<const std::byte> value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

NetDevice::Settings settings_of(std::span<const std::byte> nested) {
  NetDevice::Settings settings;
  for (const netlink::Attribute& attribute : netlink::attributes(nested)) {
    settings.emplace(attribute.type, bytes_of(attribute.value));
  }
  return settings;
}

void take_kind(std::span<const std::byte> nested, NetDevice& device) {
  for (const netlink::Attribute& attribute : netlink::attributes(nested)) {
    switch (attribute.type) {
      case IFLA_INFO_KIND:
        device.kind = netlink::to_text(attribute.value);
        break;
      case IFLA_INFO_DATA:
        device.settings = settings_of(attribute.value);
        break;
      case IFLA_INFO_SLAVE_KIND:
        device.port_kind = netlink::to_text(attribute.value);
        break;
      case IFLA_INFO_SLAVE_DATA:
        device.port = settings_of(attribute.value);
        break;
      default:
        break;
    }
  }
}

void take_ipv6(std::span<const std::byte> families, NetDevice& device) {
  const auto ipv6 = netlink::find(families, AF_INET6);
  device.has_ipv6 = !ipv6.empty();
  device.ipv6_address_mode =
      static_cast<uint8_t>(netlink::to_u32(netlink::find(ipv6, IFLA_INET6_ADDR_GEN_MODE)));
  device.ipv6_token = bytes_of(netlink::find(ipv6, IFLA_INET6_TOKEN));
}

void take(const netlink::Attribute& attribute, NetDevice& device) {
  const auto number = [&] { return netlink::to_u32(attribute.value); };
  switch (attribute.type) {
    case IFLA_IFNAME:
      device.name = netlink::to_text(attribute.value);
      break;
    case IFLA_ADDRESS:
      device.address = bytes_of(attribute.value);
      break;
    case IFLA_BROADCAST:
      device.broadcast = bytes_of(attribute.value);
      break;
    case IFLA_MTU:
      device.mtu = number();
      break;
    case IFLA_TXQLEN:
      device.queue_length = number();
      break;
    case IFLA_GROUP:
      device.group = number();
      break;
    case IFLA_MASTER:
      device.master = number();
      break;
    case IFLA_LINK:
      device.lower = number();
      break;
    case IFLA_LINK_NETNSID:
      device.lower_namespace = static_cast<int>(number());
      break;
    case IFLA_NUM_TX_QUEUES:
      device.transmit_queues = number();
      break;
    case IFLA_NUM_RX_QUEUES:
      device.receive_queues = number();
      break;
    case IFLA_IFALIAS:
      device.alias = netlink::to_text(attribute.value);
      break;
    case IFLA_LINKMODE:
      device.link_mode = static_cast<uint8_t>(number());
      break;
    case IFLA_PROTO_DOWN:
      device.protocol_down = number() != 0;
      break;
    case IFLA_XDP:
      device.has_program = netlink::to_u32(netlink::find(attribute.value, IFLA_XDP_ATTACHED)) != 0;
      break;
    case IFLA_PROP_LIST:
      for (const netlink::Attribute& name : netlink::attributes(attribute.value)) {
        if (name.type == IFLA_ALT_IFNAME) {
          device.alternative_names.push_back(netlink::to_text(name.value));
        }
      }
      break;
    case IFLA_LINKINFO:
      take_kind(attribute.value, device);
      break;
    case IFLA_AF_SPEC:
      take_ipv6(attribute.value, device);
      break;
    default:
      if (std::ranges::find(kNetDeviceLimits, attribute.type) != std::end(kNetDeviceLimits)) {
        device.limits.emplace(attribute.type, bytes_of(attribute.value));
      }
      break;
  }
}

}  // namespace

std::vector<NetDevice> list_net_devices(netlink::Connection& connection) {
  std::vector<NetDevice> devices;
  netlink::Request request(RTM_GETLINK);
  request.fixed(ifinfomsg{});
  connection.dump(request, [&](const netlink::Message& message) {
    ifinfomsg fixed{};
    std::memcpy(&fixed, message.payload.data(), std::min(sizeof fixed, message.payload.size()));
    NetDevice device;
    device.index = static_cast<uint32_t>(fixed.ifi_index);
    device.flags = fixed.ifi_flags;
    device.loopback = (fixed.ifi_flags & IFF_LOOPBACK) != 0;
    for (const netlink::Attribute& attribute : message.attributes(sizeof fixed)) {
      take(attribute, device);
    }
    devices.push_back(std::move(device));
  });
  std::ranges::sort(devices, {}, &NetDevice::index);
  return devices;
}

bool is_fallback(const NetDevice& device) {
  struct Fallback {
    std::string_view name;
    std::string_view kind;
  };
  constexpr std::array<Fallback, 9> kKnown = {{{"tunl0", "ipip"},
                                               {"sit0", "sit"},
                                               {"gre0", "gre"},
                                               {"gretap0", "gretap"},
                                               {"erspan0", "erspan"},
                                               {"ip6tnl0", "ip6tnl"},
                                               {"ip6gre0", "ip6gre"},
                                               {"ip_vti0", "vti"},
                                               {"ip6_vti0", "vti6"}}};
  return (device.flags & IFF_UP) == 0 && std::ranges::any_of(kKnown, [&](const Fallback& known) {
           return known.name == device.name && known.kind == device.kind;
         });
}

}  // namespace godwit
