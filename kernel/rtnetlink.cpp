#include "kernel/rtnetlink.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_addrlabel.h>
#include <linux/neighbour.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel/error.h"

namespace godwit::rtnetlink {

namespace {

struct Kind {
  std::string_view name;
  uint16_t get;
  uint16_t create;
  uint16_t remove;
  size_t fixed;
  uint16_t destination;  // the attribute with the address that it is about
};

constexpr std::array<Kind, 6> kKinds = {{
    {"address", RTM_GETADDR, RTM_NEWADDR, RTM_DELADDR, sizeof(ifaddrmsg), IFA_ADDRESS},
    {"routing rule", RTM_GETRULE, RTM_NEWRULE, RTM_DELRULE, sizeof(fib_rule_hdr), FRA_SRC},
    {"route", RTM_GETROUTE, RTM_NEWROUTE, RTM_DELROUTE, sizeof(rtmsg), RTA_DST},
    {"neighbour", RTM_GETNEIGH, RTM_NEWNEIGH, RTM_DELNEIGH, sizeof(ndmsg), NDA_DST},
    {"address label", RTM_GETADDRLABEL, RTM_NEWADDRLABEL, RTM_DELADDRLABEL, sizeof(ifaddrlblmsg),
     IFAL_ADDRESS},
    {"forwarding entry", RTM_GETNEIGH, RTM_NEWNEIGH, RTM_DELNEIGH, sizeof(ndmsg), NDA_DST},
}};

const Kind& kind(Table table) {
  return kKinds.at(static_cast<size_t>(table));
}

template <typename T>
T fixed_part(std::string_view entry) {
  T part{};
  std::memcpy(&part, entry.data(), std::min(sizeof part, entry.size()));
  return part;
}

std::span<const std::byte> behind(Table table, std::string_view entry) {
  const size_t fixed = NLMSG_ALIGN(kind(table).fixed);
  return std::as_bytes(std::span(entry)).subspan(std::min(fixed, entry.size()));
}

/// An entry under construction: fixed part, then attributes by type.
class Writer {
 public:
  template <typename T>
  explicit Writer(const T& fixed) : request_(0) {
    request_.fixed(fixed);
  }
  void keep(const netlink::Attribute& attribute) { kept_.push_back(attribute); }
  template <typename T>
  void keep(uint16_t type, const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    keep(type, std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  void keep(uint16_t type, std::vector<std::byte> value) {
    made_.push_back(std::move(value));
    kept_.push_back({type, made_.back()});
  }
  [[nodiscard]] std::string finish() {
    std::ranges::stable_sort(kept_, {}, &netlink::Attribute::type);
    for (const netlink::Attribute& attribute : kept_) {
      request_.add(attribute.type, attribute.value);
    }
    const auto payload = request_.payload();
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }

 private:
  netlink::Request request_;
  std::vector<netlink::Attribute> kept_;
  std::vector<std::vector<std::byte>> made_;
};

std::string canonical_address(std::string_view entry) {
  constexpr uint32_t kOfTheMoment =
      IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_OPTIMISTIC | IFA_F_DEPRECATED | IFA_F_STABLE_PRIVACY;
  auto fixed = fixed_part<ifaddrmsg>(entry);
  uint32_t flags = fixed.ifa_flags;
  const auto attributes = netlink::attributes(behind(Table::Address, entry));
  for (const netlink::Attribute& attribute : attributes) {
    if (attribute.type == IFA_FLAGS) {
      flags = netlink::to_u32(attribute.value);
    }
  }
  // The same bit is IFA_F_TEMPORARY for IPv6.
  flags &= ~(kOfTheMoment | (fixed.ifa_family == AF_INET ? IFA_F_SECONDARY : 0));
  fixed.ifa_flags = static_cast<uint8_t>(flags);
  Writer writer(fixed);
  for (const netlink::Attribute& attribute : attributes) {
    if (attribute.type == IFA_CACHEINFO) {
      ifa_cacheinfo lifetimes{};
      std::memcpy(&lifetimes, attribute.value.data(), std::min(sizeof lifetimes, attribute.value.size()));
      lifetimes.cstamp = 0;
      lifetimes.tstamp = 0;
      writer.keep(IFA_CACHEINFO, lifetimes);
    } else if (attribute.type != IFA_FLAGS) {
      writer.keep(attribute);
    }
  }
  writer.keep(IFA_FLAGS, flags);
  return writer.finish();
}

std::string canonical_rule(std::string_view entry) {
  auto fixed = fixed_part<fib_rule_hdr>(entry);
  fixed.flags &= FIB_RULE_PERMANENT | FIB_RULE_INVERT;
  Writer writer(fixed);
  bool has_priority = false;
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::Rule, entry))) {
    if (attribute.type != FRA_PAD) {
      writer.keep(attribute);
    }
    has_priority = has_priority || attribute.type == FRA_PRIORITY;
  }
  if (!has_priority) {
    writer.keep(FRA_PRIORITY,
                uint32_t{0});  // which the kernel doesn't say, and takes for another unless it is
  }
  return writer.finish();
}

/// The next hops of a route of several, without whether their devices have a carrier.
std::vector<std::byte> canonical_hops(std::span<const std::byte> value, bool keep_dead) {
  std::vector<std::byte> hops(value.begin(), value.end());
  for (size_t at = 0; at + sizeof(rtnexthop) <= hops.size();) {
    rtnexthop hop;
    std::memcpy(&hop, hops.data() + at, sizeof hop);
    hop.rtnh_flags &= RTNH_F_ONLINK | (keep_dead ? RTNH_F_DEAD : 0);
    std::memcpy(hops.data() + at, &hop, sizeof hop);
    if (hop.rtnh_len < sizeof hop) {
      break;
    }
    at += RTNH_ALIGN(hop.rtnh_len);
  }
  return hops;
}

std::string canonical_route(std::string_view entry, bool keep_dead = true) {
  auto fixed = fixed_part<rtmsg>(entry);
  fixed.rtm_flags &= RTNH_F_ONLINK;
  Writer writer(fixed);
  bool expires = false;
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::Route, entry))) {
    expires = expires || attribute.type == RTA_EXPIRES;
  }
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::Route, entry))) {
    if (attribute.type == RTA_MULTIPATH) {
      writer.keep(RTA_MULTIPATH, canonical_hops(attribute.value, keep_dead));
    } else if (attribute.type == RTA_CACHEINFO) {
      rta_cacheinfo ages{};
      std::memcpy(&ages, attribute.value.data(), std::min(sizeof ages, attribute.value.size()));
      if (ages.rta_expires > 0 && !expires) {
        // The kernel tells ticks (USER_HZ) and wants to hear seconds.
        writer.keep(RTA_EXPIRES, static_cast<uint32_t>((ages.rta_expires + 99) / 100));
      }
    } else if (attribute.type != RTA_PAD) {
      writer.keep(attribute);
    }
  }
  return writer.finish();
}

std::string canonical_neighbour(std::string_view entry) {
  auto fixed = fixed_part<ndmsg>(entry);
  Writer writer(fixed);
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::Neighbour, entry))) {
    if (attribute.type != NDA_CACHEINFO && attribute.type != NDA_PROBES) {
      writer.keep(attribute);
    }
  }
  return writer.finish();
}

std::string canonical_label(std::string_view entry) {
  auto fixed = fixed_part<ifaddrlblmsg>(entry);
  fixed.ifal_seq = 0;  // counts changes
  Writer writer(fixed);
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::AddressLabel, entry))) {
    writer.keep(attribute);
  }
  return writer.finish();
}

/// A bridge tells its own entries by their master, and wants to hear whom to ask.
std::string canonical_forwarding(std::string_view entry) {
  auto fixed = fixed_part<ndmsg>(entry);
  const auto attributes = netlink::attributes(behind(Table::Forwarding, entry));
  for (const netlink::Attribute& attribute : attributes) {
    if (attribute.type == NDA_MASTER) {
      const bool itself = netlink::to_u32(attribute.value) == static_cast<uint32_t>(fixed.ndm_ifindex);
      fixed.ndm_flags |= itself ? NTF_SELF : NTF_MASTER;
    }
  }
  Writer writer(fixed);
  for (const netlink::Attribute& attribute : attributes) {
    if (attribute.type != NDA_CACHEINFO && attribute.type != NDA_MASTER) {
      writer.keep(attribute);
    }
  }
  return writer.finish();
}

/// Of what devices tell besides bridges and tunnels, all follows from their addresses.
bool is_static_forwarding(std::string_view entry) {
  const auto fixed = fixed_part<ndmsg>(entry);
  const auto has = [&](uint16_t type) {
    return !netlink::find(behind(Table::Forwarding, entry), type).empty();
  };
  const bool lasts =
      (fixed.ndm_state & (NUD_PERMANENT | NUD_NOARP)) != 0 || (fixed.ndm_flags & NTF_EXT_LEARNED) != 0;
  return lasts && (has(NDA_MASTER) || has(NDA_DST));
}

/// For an address of our own, a multicast or anycast address, by the kernel.
bool follows_from_ipv6_addresses(const rtmsg& route) {
  return route.rtm_family == AF_INET6 && route.rtm_protocol == RTPROT_KERNEL &&
         (route.rtm_type == RTN_LOCAL || route.rtm_type == RTN_MULTICAST || route.rtm_type == RTN_ANYCAST);
}

/// Entries of a neighbour table that aren't what the kernel has found out by itself, or makes by itself.
bool was_entered(std::string_view entry) {
  const auto fixed = fixed_part<ndmsg>(entry);
  return (fixed.ndm_state & NUD_PERMANENT) != 0 || (fixed.ndm_flags & (NTF_PROXY | NTF_EXT_LEARNED)) != 0;
}

/// The kernel tells of it until it comes to remove it.
bool has_expired(std::string_view route) {
  for (const netlink::Attribute& attribute : netlink::attributes(behind(Table::Route, route))) {
    rta_cacheinfo ages{};
    if (attribute.type == RTA_CACHEINFO) {
      std::memcpy(&ages, attribute.value.data(), std::min(sizeof ages, attribute.value.size()));
    }
    if (ages.rta_expires < 0) {
      return true;
    }
  }
  return false;
}

bool is_listed(Table table, std::string_view entry) {
  if (table == Table::Route) {
    const auto route = fixed_part<rtmsg>(entry);
    return (route.rtm_flags & RTM_F_CLONED) == 0 && !follows_from_ipv6_addresses(route) &&
           !has_expired(entry);
  }
  if (table == Table::Forwarding) {
    return is_static_forwarding(entry);
  }
  return table != Table::Neighbour || was_entered(entry);
}

void request_list(netlink::Connection& connection, Table table, const netlink::Request& request,
                  std::vector<std::string>& found) {
  connection.dump(request, [&](const netlink::Message& message) {
    const std::string_view entry(reinterpret_cast<const char*>(message.payload.data()),
                                 message.payload.size());
    if (is_listed(table, entry)) {
      found.push_back(canonical(table, entry));
    }
  });
}

template <typename T>
netlink::Request request_of(Table table, const T& fixed = {}) {
  netlink::Request request(kind(table).get);
  request.fixed(fixed);
  return request;
}

}  // namespace

std::string_view name_of(Table table) {
  return kind(table).name;
}

size_t fixed_size(Table table) {
  return kind(table).fixed;
}

uint8_t family_of(std::string_view entry) {
  return entry.empty() ? 0 : static_cast<uint8_t>(entry.front());  // it comes first in all of them
}

std::string canonical(Table table, std::string_view entry) {
  if (entry.size() < kind(table).fixed) {
    throw error("{} of {} bytes", name_of(table), entry.size());
  }
  switch (table) {
    case Table::Address:
      return canonical_address(entry);
    case Table::Rule:
      return canonical_rule(entry);
    case Table::Route:
      return canonical_route(entry);
    case Table::Neighbour:
      return canonical_neighbour(entry);
    case Table::AddressLabel:
      return canonical_label(entry);
    case Table::Forwarding:
      return canonical_forwarding(entry);
  }
  return {};
}

std::vector<std::string> list(netlink::Connection& connection, Table table) {
  std::vector<std::string> found;
  switch (table) {
    case Table::Address:
      request_list(connection, table, request_of<ifaddrmsg>(table), found);
      break;
    case Table::Rule:
      request_list(connection, table, request_of<fib_rule_hdr>(table), found);
      break;
    case Table::Route:
      request_list(connection, table, request_of<rtmsg>(table), found);
      break;
    case Table::AddressLabel: {
      ifaddrlblmsg ipv6{};
      ipv6.ifal_family = AF_INET6;
      request_list(connection, table, request_of(table, ipv6), found);
      break;
    }
    case Table::Forwarding: {
      ndmsg bridges{};
      bridges.ndm_family = AF_BRIDGE;
      request_list(connection, table, request_of(table, bridges), found);
      break;
    }
    case Table::Neighbour: {
      request_list(connection, table, request_of<ndmsg>(table), found);
      // Those for whom this host answers are a list of their own.
      ndmsg proxies{};
      proxies.ndm_flags = NTF_PROXY;
      request_list(connection, table, request_of(table, proxies), found);
      break;
    }
  }
  return found;
}

void add(netlink::Connection& connection, Table table, std::string_view entry) {
  // A second route to the same destination goes behind the first, as it did. What is there already is refused
  // all the same.
  const bool behind_others = table == Table::Route;
  netlink::Request request(kind(table).create,
                           static_cast<uint16_t>(NLM_F_CREATE | (behind_others ? NLM_F_APPEND : NLM_F_EXCL)));
  if (table == Table::Route) {
    connection.change(
        request.raw(canonical_route(entry, false)));  // that a hop is dead it doesn't want to hear
  } else {
    connection.change(request.raw(entry));
  }
}

void remove(netlink::Connection& connection, Table table, std::string_view entry) {
  netlink::Request request(kind(table).remove);
  connection.change(request.raw(table == Table::Route ? canonical_route(entry, false) : std::string(entry)));
}

uint32_t number_in(Table table, std::string_view entry, uint16_t attribute) {
  return netlink::to_u32(netlink::find(behind(table, entry), attribute));
}

std::string describe(Table table, std::string_view entry) {
  const int family = family_of(entry);
  const auto address = netlink::find(behind(table, entry), kind(table).destination);
  char text[INET6_ADDRSTRLEN] = "default";
  if ((family == AF_INET && address.size() == 4) || (family == AF_INET6 && address.size() == 16)) {
    ::inet_ntop(family, address.data(), text, sizeof text);
  }
  if (table == Table::Route) {
    const auto route = fixed_part<rtmsg>(entry);
    return fmt::format("route to {}/{} (table {}, protocol {})", text, route.rtm_dst_len,
                       number_in(table, entry, RTA_TABLE), route.rtm_protocol);
  }
  if (table == Table::Rule) {
    return fmt::format("routing rule {}", number_in(table, entry, FRA_PRIORITY));
  }
  return fmt::format("{} {}", name_of(table), text);
}

}  // namespace godwit::rtnetlink
