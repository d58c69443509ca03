#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/lwtunnel.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <string>

#include "dump/net.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/next_hop.h"
#include "kernel/rtnetlink.h"

namespace godwit {

namespace {

using rtnetlink::Table;

void check_address(const std::string& entry) {
  const uint32_t flags = rtnetlink::number_in(Table::Address, entry, IFA_FLAGS);
  if (rtnetlink::family_of(entry) == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0) {
    log::warning("{}: a temporary address, which will be an ordinary one after a restore",
                 rtnetlink::describe(Table::Address, entry));
  }
}

using Devices = std::map<uint32_t, const image::NetDevice*>;

/// Such as those that come into every namespace with a tunnel's module.
void check_devices(Table table, const std::string& entry, const Devices& devices) {
  for (const uint32_t index : rtnetlink::devices_of(table, entry)) {
    if (!devices.contains(index)) {
      throw refusal("{} on network device {}, which isn't kept,", rtnetlink::describe(table, entry), index);
    }
  }
}

/// A gateway that has become one of the tree's own addresses, which no kernel takes for one.
bool is_own(const rtnetlink::NextHop& hop, const image::NetNamespace& record) {
  return std::ranges::any_of(record.addresses(), [&](const std::string& entry) {
    const bool same_device = rtnetlink::devices_of(Table::Address, entry).front() == hop.device;
    if (rtnetlink::family_of(entry) != hop.family || rtnetlink::address_in(entry) != hop.gateway) {
      return false;
    }
    const bool link_local = hop.family == AF_INET6 && hop.gateway.starts_with("\xfe\x80");
    return hop.family == AF_INET ? !same_device && !hop.onlink : same_device || !link_local;
  });
}

/// No kernel takes a dead hop as it is. A restore knows what kills one: its device goes down, or loses its
/// last IPv4 address.
void check_hops(const std::string& entry, const Devices& devices, const image::NetNamespace& record) {
  for (const rtnetlink::NextHop& hop : rtnetlink::next_hops(entry)) {
    if (hop.dead && rtnetlink::family_of(entry) == AF_INET6 &&
        (devices.at(hop.device)->flags() & IFF_UP) != 0) {
      throw refusal("{} by network device {}, on which IPv6 is off,",
                    rtnetlink::describe(Table::Route, entry), devices.at(hop.device)->name());
    }
    if (is_own(hop, record)) {
      throw refusal("{} by a gateway that is the tree itself", rtnetlink::describe(Table::Route, entry));
    }
  }
}

void check_route(const std::string& entry) {
  const int family = rtnetlink::family_of(entry);
  if (family != AF_INET && family != AF_INET6) {
    throw refusal("a route of address family {}", family);
  }
  if (rtnetlink::number_in(Table::Route, entry, RTA_NH_ID) != 0) {
    throw refusal("{} by a next hop object", rtnetlink::describe(Table::Route, entry));
  }
  if (rtnetlink::number_in(Table::Route, entry, RTA_ENCAP_TYPE) % 0x10000 == LWTUNNEL_ENCAP_BPF) {
    throw refusal("{} with a BPF program", rtnetlink::describe(Table::Route, entry));
  }
}

template <typename Check>
void collect(netlink::Connection& connection, Table table, const Devices& devices,
             google::protobuf::RepeatedPtrField<std::string>& kept, Check&& check) {
  with_context([&] { return fmt::format("{} table", rtnetlink::name_of(table)); },
               [&] {
                 for (std::string& entry : rtnetlink::list(connection, table)) {
                   check_devices(table, entry, devices);
                   check(entry);
                   kept.Add(std::move(entry));
                 }
               });
}

}  // namespace

void collect_net_tables(netlink::Connection& connection, image::NetNamespace& record) {
  Devices devices;
  for (const image::NetDevice& device : record.devices()) {
    devices[device.index()] = &device;
  }
  const auto any = [](const std::string&) {};
  const auto route = [&](const std::string& entry) {
    check_route(entry);
    check_hops(entry, devices, record);
  };
  collect(connection, Table::Address, devices, *record.mutable_addresses(), check_address);
  collect(connection, Table::Rule, devices, *record.mutable_rules(), any);
  collect(connection, Table::Route, devices, *record.mutable_routes(), route);
  collect(connection, Table::Neighbour, devices, *record.mutable_neighbours(), any);
  collect(connection, Table::AddressLabel, devices, *record.mutable_address_labels(), any);
  collect(connection, Table::Forwarding, devices, *record.mutable_forwarding(), any);
}

}  // namespace godwit
