#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "images-format/net_kind.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "restore/net.h"

namespace godwit {

namespace {

using Present = std::map<uint32_t, NetDevice>;

Present list(netlink::Connection& connection) {
  Present present;
  for (NetDevice& device : list_net_devices(connection)) {
    present.emplace(device.index, std::move(device));
  }
  return present;
}

ifinfomsg about(const image::NetDevice& device) {
  ifinfomsg fixed{};
  fixed.ifi_index = static_cast<int>(device.index());
  return fixed;
}

/// With the zero byte that ends it.
void add_name(netlink::Request& request, uint16_t type, const std::string& name) {
  request.add(type, std::string_view(name.c_str(), name.size() + 1));
}

void add_attributes(netlink::Request& request,
                    const google::protobuf::RepeatedPtrField<image::NetAttribute>& list) {
  for (const image::NetAttribute& attribute : list) {
    request.add(static_cast<uint16_t>(attribute.type()), attribute.value());
  }
}

/// A bridge has the lowest address of its ports, whichever they are, unless it has been told one; then it
/// keeps that. The kernel doesn't say which it is.
bool follows_its_ports(const image::NetDevice& device, const image::NetNamespace& record) {
  const std::string* lowest = nullptr;
  for (const image::NetDevice& port : record.devices()) {
    if (port.master() == device.index() && (lowest == nullptr || port.address() < *lowest)) {
      lowest = &port.address();
    }
  }
  return lowest != nullptr && *lowest == device.address();
}

/// What must be said when it is made: the rest can be said later.
void add_identity(netlink::Request& request, const image::NetDevice& device, bool with_address = true) {
  add_name(request, IFLA_IFNAME, device.name());
  if (with_address && !device.address().empty()) {
    request.add(IFLA_ADDRESS, device.address());
  }
  request.add_u32(IFLA_NUM_TX_QUEUES, device.transmit_queues());
  request.add_u32(IFLA_NUM_RX_QUEUES, device.receive_queues());
}

class Maker {
 public:
  Maker(netlink::Connection& connection, const image::NetNamespace& record)
      : connection_(connection), record_(record) {
    for (const image::NetDevice& device : record.devices()) {
      devices_[device.index()] = &device;
    }
    for (const auto& [index, present] : list(connection)) {
      const auto wanted = devices_.find(index);
      if (wanted != devices_.end() && wanted->second->external().empty() && !present.loopback) {
        throw error("network device {} needs number {}, which this kernel has given to {}",
                    wanted->second->name(), index, present.name)
            .hint(
                "devices like that come with a module for tunnels, into every new namespace; see "
                "fb_tunnels_only_for_init_net in Documentation/admin-guide/sysctl/net.rst");
      }
      made_.insert(index);
    }
  }

  void make_all() {
    for (const image::NetDevice& device : record_.devices()) {
      make(device);
    }
  }

 private:
  /// What it stands on comes first. Pairs with an end outside have been made there.
  void make(const image::NetDevice& device) {
    if (device.kind().empty() || !made_.insert(device.index()).second) {
      return;
    }
    with_context([&] { return fmt::format("network device {}", device.name()); },
                 [&] {
                   const bool pair = device.kind() == "veth";
                   const image::NetDevice* lower =
                       device.lower() != 0 ? devices_.at(device.lower()) : nullptr;
                   if (lower != nullptr && !pair) {
                     make(*lower);
                   }
                   if (device.kind() == "tun") {
                     make_tun_device(device);
                   } else {
                     create(device, pair ? lower : nullptr);
                   }
                   if (pair) {
                     made_.insert(lower->index());
                   }
                 });
  }

  void create(const image::NetDevice& device, const image::NetDevice* peer) {
    netlink::Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    request.fixed(about(device));
    add_identity(request, device, !follows_its_ports(device, record_));
    if (peer == nullptr && device.lower() != 0) {
      request.add_u32(IFLA_LINK, device.lower());
    }
    request.nest(IFLA_LINKINFO, [&] {
      add_name(request, IFLA_INFO_KIND, device.kind());
      if (peer != nullptr) {
        request.nest(IFLA_INFO_DATA, [&] {
          request.nest(VETH_INFO_PEER, [&] {
            request.fixed(about(*peer));
            add_identity(request, *peer);
          });
        });
      } else if (find_net_device_kind(device.kind())->at_creation) {
        request.nest(IFLA_INFO_DATA, [&] { add_attributes(request, device.settings()); });
      }
    });
    connection_.change(request);
  }

  netlink::Connection& connection_;
  const image::NetNamespace& record_;
  std::map<uint32_t, const image::NetDevice*> devices_;
  std::set<uint32_t> made_;
};

void set_ipv6(netlink::Request& request, const std::function<void()>& body) {
  request.nest(IFLA_AF_SPEC, [&] { request.nest(AF_INET6, body); });
}

/// Tells a device what isn't as it should be.
void adjust(netlink::Connection& connection, const image::NetDevice& wanted, const NetDevice& present,
            bool with_address = true) {
  netlink::Request request(RTM_NEWLINK);
  request.fixed(about(wanted));
  const auto number = [&](uint16_t type, uint32_t value, uint32_t now) {
    if (value != now) {
      request.add_u32(type, value);
    }
  };
  const auto bytes = [&](uint16_t type, const std::string& value, const std::string& now) {
    if (value != now) {
      request.add(type, value);
    }
  };
  if (with_address) {
    bytes(IFLA_ADDRESS, wanted.address(), present.address);
  }
  bytes(IFLA_BROADCAST, wanted.broadcast(), present.broadcast);
  bytes(IFLA_IFALIAS, wanted.alias(), present.alias);
  number(IFLA_MTU, wanted.mtu(), present.mtu);
  number(IFLA_TXQLEN, wanted.queue_length(), present.queue_length);
  number(IFLA_GROUP, wanted.group(), present.group);
  if (wanted.link_mode() != present.link_mode) {
    request.add_u8(IFLA_LINKMODE, static_cast<uint8_t>(wanted.link_mode()));
  }
  if (wanted.protocol_down() != present.protocol_down) {
    request.add_u8(IFLA_PROTO_DOWN, wanted.protocol_down() ? 1 : 0);
  }
  for (const image::NetAttribute& limit : wanted.limits()) {
    const auto type = static_cast<uint16_t>(limit.type());
    if (const auto now = present.limits.find(type);
        now != present.limits.end() && now->second != limit.value()) {
      request.add(type, limit.value());
    }
  }
  connection.change(request);
}

/// One message each: which of them a kernel doesn't take is then named.
void set_one_by_one(netlink::Connection& connection, const image::NetDevice& device, uint16_t kind_attribute,
                    const std::string& kind, uint16_t data_attribute,
                    const google::protobuf::RepeatedPtrField<image::NetAttribute>& wanted,
                    const NetDevice::Settings& present) {
  for (const image::NetAttribute& setting : wanted) {
    const auto now = present.find(static_cast<uint16_t>(setting.type()));
    if (now != present.end() && now->second == setting.value()) {
      continue;
    }
    netlink::Request request(RTM_NEWLINK);
    request.fixed(about(device));
    request.nest(IFLA_LINKINFO, [&] {
      add_name(request, kind_attribute, kind);
      request.nest(data_attribute,
                   [&] { request.add(static_cast<uint16_t>(setting.type()), setting.value()); });
    });
    with_context([&] { return fmt::format("its attribute {}", setting.type()); },
                 [&] { connection.change(request); });
  }
}

/// Of the alternative names none is there yet.
void add_names(netlink::Connection& connection, const image::NetDevice& device) {
  if (device.alternative_names().empty()) {
    return;
  }
  netlink::Request request(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND);
  request.fixed(about(device));
  request.nest(IFLA_PROP_LIST, [&] {
    for (const std::string& name : device.alternative_names()) {
      add_name(request, IFLA_ALT_IFNAME, name);
    }
  });
  connection.change(request);
}

void set_master(netlink::Connection& connection, const image::NetDevice& device) {
  netlink::Request request(RTM_NEWLINK);
  request.fixed(about(device)).add_u32(IFLA_MASTER, device.master());
  connection.change(request);
}

/// Calls `body` for each device that is wanted, with what it is now; names the device in errors.
template <typename Body>
void for_each(const image::NetNamespace& record, const Present& present, Body&& body) {
  for (const image::NetDevice& device : record.devices()) {
    with_context([&] { return fmt::format("network device {}", device.name()); },
                 [&] {
                   const auto found = present.find(device.index());
                   if (found == present.end()) {
                     throw error("it isn't there under its number, {}", device.index());
                   }
                   body(device, found->second);
                 });
  }
}

void set_address_mode(netlink::Connection& connection, const image::NetDevice& device, uint8_t mode) {
  netlink::Request request(RTM_NEWLINK);
  request.fixed(about(device));
  set_ipv6(request, [&] { request.add_u8(IFLA_INET6_ADDR_GEN_MODE, mode); });
  connection.change(request);
}

/// A setting of a device's IPv6 that is another one for a moment.
class OtherSetting {
 public:
  OtherSetting(const image::NetDevice& device, std::string_view name, std::string_view value)
      : file_(open_file(fmt::format("/proc/sys/net/ipv6/conf/{}/{}", device.name(), name), O_RDWR)),
        before_(read_all(file_.get(), device.name())) {
    write(value);
  }
  OtherSetting(const OtherSetting&) = delete;
  OtherSetting& operator=(const OtherSetting&) = delete;
  ~OtherSetting() { write(before_); }

 private:
  void write(std::string_view value) const {
    // Whether it takes it shows in what follows.
    [[maybe_unused]] const ssize_t written = ::pwrite(file_.get(), value.data(), value.size(), 0);
  }

  Fd file_;
  std::string before_;
};

/// The kernel takes it only for a device that asks for router advertisements and heeds them; it stays when
/// that changes.
void set_token(netlink::Connection& connection, const image::NetDevice& device) {
  netlink::Request request(RTM_NEWLINK);
  request.fixed(about(device));
  set_ipv6(request, [&] { request.add(IFLA_INET6_TOKEN, device.ipv6_token()); });
  try {
    const OtherSetting heeds(device, "accept_ra", "2");
    const OtherSetting asks(device, "router_solicitations", "1");
    connection.change(request);
  } catch (const Error& e) {
    log::warning("network device {}: its IPv6 token can't be had again here: {}", device.name(), e.what());
  }
}

}  // namespace

void make_net_devices(netlink::Connection& connection, const image::NetNamespace& record) {
  Maker(connection, record).make_all();
  for_each(record, list(connection), [&](const image::NetDevice& device, const NetDevice& present) {
    adjust(connection, device, present, !follows_its_ports(device, record));
    add_names(connection, device);
    const NetDeviceKind* kind = find_net_device_kind(device.kind());
    if (kind != nullptr && !kind->at_creation) {
      set_one_by_one(connection, device, IFLA_INFO_KIND, device.kind(), IFLA_INFO_DATA, device.settings(),
                     present.settings);
    }
    if (device.master() != 0) {
      set_master(connection, device);
    }
  });
  // A port has its settings from its master, which may have changed those of the device, too.
  for_each(record, list(connection), [&](const image::NetDevice& device, const NetDevice& present) {
    adjust(connection, device, present);
    if (present.has_ipv6 && !device.ipv6_token().empty()) {
      set_token(connection, device);
    }
    if (device.master() != 0) {
      set_one_by_one(connection, device, IFLA_INFO_SLAVE_KIND, "bridge", IFLA_INFO_SLAVE_DATA, device.port(),
                     present.port);
    }
  });
}

void bring_net_devices_up(netlink::Connection& connection, const image::NetNamespace& record) {
  for_each(record, list(connection), [&](const image::NetDevice& device, const NetDevice& present) {
    if (present.has_ipv6) {
      set_address_mode(connection, device, IN6_ADDR_GEN_MODE_NONE);
    }
    constexpr uint32_t kOfTheKernel = IFF_LOOPBACK | IFF_BROADCAST | IFF_POINTOPOINT | IFF_RUNNING |
                                      IFF_SLAVE | IFF_MASTER | IFF_LOWER_UP | IFF_DORMANT | IFF_ECHO;
    ifinfomsg fixed = about(device);
    fixed.ifi_flags = device.flags();
    fixed.ifi_change = ~kOfTheKernel;
    netlink::Request request(RTM_NEWLINK);
    connection.change(request.fixed(fixed));
  });
}

void conclude_net_devices(netlink::Connection& connection, const image::NetNamespace& record) {
  for_each(record, list(connection), [&](const image::NetDevice& device, const NetDevice& present) {
    if (present.has_ipv6) {
      set_address_mode(connection, device, static_cast<uint8_t>(device.ipv6_address_mode()));
    }
  });
}

}  // namespace godwit
