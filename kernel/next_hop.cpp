#include "kernel/next_hop.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_addrlabel.h>
#include <linux/neighbour.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace godwit::rtnetlink {

namespace {

template <typename T>
T fixed_part(std::string_view entry) {
  T part{};
  std::memcpy(&part, entry.data(), std::min(sizeof part, entry.size()));
  return part;
}

std::span<const std::byte> behind(std::string_view entry, size_t fixed) {
  return std::as_bytes(std::span(entry)).subspan(std::min<size_t>(NLMSG_ALIGN(fixed), entry.size()));
}

std::string bytes_of(std::span<const std::byte> value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// What attributes say of a hop.
void take(std::span<const netlink::Attribute> attributes, int family, NextHop& hop) {
  for (const netlink::Attribute& attribute : attributes) {
    if (attribute.type == RTA_OIF) {
      hop.device = netlink::to_u32(attribute.value);
    } else if (attribute.type == RTA_GATEWAY) {
      hop.family = family;
      hop.gateway = bytes_of(attribute.value);
    } else if (attribute.type == RTA_VIA && attribute.value.size() > sizeof(rtvia)) {
      rtvia via{};
      std::memcpy(&via, attribute.value.data(), sizeof via);
      hop.family = via.rtvia_family;
      hop.gateway = bytes_of(attribute.value.subspan(sizeof via));
    }
  }
}

std::vector<NextHop> several(std::span<const std::byte> value, int family) {
  std::vector<NextHop> hops;
  while (value.size() >= sizeof(rtnexthop)) {
    rtnexthop fixed{};
    std::memcpy(&fixed, value.data(), sizeof fixed);
    if (fixed.rtnh_len < sizeof fixed || fixed.rtnh_len > value.size()) {
      break;
    }
    NextHop hop;
    hop.device = static_cast<uint32_t>(fixed.rtnh_ifindex);
    hop.onlink = (fixed.rtnh_flags & RTNH_F_ONLINK) != 0;
    hop.dead = (fixed.rtnh_flags & RTNH_F_DEAD) != 0;
    take(netlink::attributes(value.subspan(sizeof fixed, fixed.rtnh_len - sizeof fixed)), family, hop);
    hops.push_back(std::move(hop));
    value = value.subspan(std::min<size_t>(RTNH_ALIGN(fixed.rtnh_len), value.size()));
  }
  return hops;
}

}  // namespace

std::vector<NextHop> next_hops(std::string_view route) {
  const auto fixed = fixed_part<rtmsg>(route);
  const auto attributes = netlink::attributes(behind(route, sizeof fixed));
  const auto multipath = std::ranges::find(attributes, RTA_MULTIPATH, &netlink::Attribute::type);
  if (multipath != attributes.end()) {
    return several(multipath->value, fixed.rtm_family);
  }
  NextHop hop;
  hop.onlink = (fixed.rtm_flags & RTNH_F_ONLINK) != 0;
  take(attributes, fixed.rtm_family, hop);
  return hop.device == 0 && hop.gateway.empty() ? std::vector<NextHop>() : std::vector<NextHop>{hop};
}

std::vector<uint32_t> devices_of(Table table, std::string_view entry) {
  std::vector<uint32_t> found;
  const auto add = [&](auto index) {
    if (index != 0) {
      found.push_back(static_cast<uint32_t>(index));
    }
  };
  switch (table) {
    case Table::Address:
      add(fixed_part<ifaddrmsg>(entry).ifa_index);
      break;
    case Table::AddressLabel:
      add(fixed_part<ifaddrlblmsg>(entry).ifal_index);
      break;
    case Table::Route:
      for (const NextHop& hop : next_hops(entry)) {
        add(hop.device);
      }
      break;
    case Table::Neighbour:
    case Table::Forwarding:
      add(fixed_part<ndmsg>(entry).ndm_ifindex);
      add(netlink::to_u32(netlink::find(behind(entry, sizeof(ndmsg)), NDA_IFINDEX)));
      break;
    case Table::Rule:
      break;  // they name devices, which need not exist
  }
  return found;
}

std::string address_in(std::string_view address) {
  const auto attributes = behind(address, sizeof(ifaddrmsg));
  const auto local = netlink::find(attributes, IFA_LOCAL);
  return bytes_of(local.empty() ? netlink::find(attributes, IFA_ADDRESS) : local);  // see rtnetlink(7)
}

std::string order_key(Table table, std::string_view entry) {
  std::string key;
  const auto add = [&](std::span<const std::byte> attributes, uint16_t type) {
    const auto value = netlink::find(attributes, type);
    key.append(1, static_cast<char>(value.size())).append(bytes_of(value));
  };
  if (table == Table::Route) {
    const auto fixed = fixed_part<rtmsg>(entry);
    const auto attributes = behind(entry, sizeof fixed);
    for (const uint8_t part : {fixed.rtm_family, fixed.rtm_dst_len, fixed.rtm_src_len, fixed.rtm_tos}) {
      key.append(bytes_of(part));
    }
    for (const uint16_t type : {RTA_DST, RTA_SRC, RTA_TABLE, RTA_PRIORITY}) {
      add(attributes, type);
    }
  } else if (table == Table::Rule) {
    key.append(1, static_cast<char>(family_of(entry)));
    add(behind(entry, sizeof(fib_rule_hdr)), FRA_PRIORITY);
  }
  return key;
}

std::string route_to_gateway(const NextHop& hop) {
  rtmsg fixed{};
  fixed.rtm_family = static_cast<uint8_t>(hop.family);
  fixed.rtm_dst_len = static_cast<uint8_t>(hop.gateway.size() * 8);
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_STATIC;
  fixed.rtm_scope = hop.family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  fixed.rtm_type = RTN_UNICAST;
  netlink::Request route(0);
  route.fixed(fixed).add(RTA_DST, hop.gateway).add_u32(RTA_OIF, hop.device);
  if (hop.family == AF_INET6) {
    route.add_u32(RTA_PRIORITY, 1);  // 0 would be the usual one
  }
  return bytes_of(route.payload());
}

}  // namespace godwit::rtnetlink
