// What a network namespace holds. So far only one with nothing but its loopback device can be made again.
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstring>
#include <string>

#include "dump/namespace.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/netlink.h"

namespace godwit {

namespace {

template <typename T>
T fixed_part(const netlink::Message& message) {
  T part{};
  std::memcpy(&part, message.payload.data(), std::min(sizeof part, message.payload.size()));
  return part;
}

std::string text(std::span<const std::byte> attribute) {
  std::string value(reinterpret_cast<const char*>(attribute.data()), attribute.size());
  return value.substr(0, value.find('\0'));
}

template <typename T>
void ask(uint16_t type, const std::function<void(const netlink::Message&)>& visit) {
  const T request{};
  netlink::dump(NETLINK_ROUTE, type, std::as_bytes(std::span(&request, 1)), visit);
}

/// Devices that the kernel makes in every namespace when a tunnel's module is loaded, unless they are used.
bool is_fallback_device(const netlink::Message& message, const ifinfomsg& link) {
  if ((link.ifi_flags & IFF_UP) != 0) {
    return false;
  }
  const std::string name = text(message.attribute(sizeof link, IFLA_IFNAME));
  for (const char* known :
       {"tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0"}) {
    if (name == known) {
      return true;
    }
  }
  return false;
}

void collect_links(image::NetNamespace& record, bool only_loopback) {
  ask<ifinfomsg>(RTM_GETLINK, [&](const netlink::Message& message) {
    const auto link = fixed_part<ifinfomsg>(message);
    if ((link.ifi_flags & IFF_LOOPBACK) != 0) {
      record.set_loopback_up((link.ifi_flags & IFF_UP) != 0);
    } else if (!only_loopback && !is_fallback_device(message, link)) {
      throw refusal("network device {}", text(message.attribute(sizeof link, IFLA_IFNAME)));
    }
  });
}

void refuse_addresses() {
  ask<ifaddrmsg>(RTM_GETADDR, [](const netlink::Message& message) {
    const auto address = fixed_part<ifaddrmsg>(message);
    const auto value = message.attribute(sizeof address, IFA_ADDRESS);
    static constexpr std::array<unsigned char, 4> kLoopback4{127, 0, 0, 1};
    static constexpr std::array<unsigned char, 16> kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    const bool usual = (address.ifa_family == AF_INET && address.ifa_prefixlen == 8 && value.size() == 4 &&
                        std::memcmp(value.data(), kLoopback4.data(), 4) == 0) ||
                       (address.ifa_family == AF_INET6 && address.ifa_prefixlen == 128 &&
                        value.size() == 16 && std::memcmp(value.data(), kLoopback6.data(), 16) == 0);
    if (!usual) {
      throw refusal("an address of the loopback device besides the usual ones");
    }
  });
}

/// What the kernel has made by itself it makes again.
void refuse_routes() {
  ask<rtmsg>(RTM_GETROUTE, [](const netlink::Message& message) {
    const auto route = fixed_part<rtmsg>(message);
    if (route.rtm_protocol != RTPROT_KERNEL && (route.rtm_flags & RTM_F_CLONED) == 0) {
      throw refusal("a route (protocol {}, table {})", route.rtm_protocol, route.rtm_table);
    }
  });
  ask<fib_rule_hdr>(RTM_GETRULE, [](const netlink::Message& message) {
    const auto protocol = message.attribute(sizeof(fib_rule_hdr), FRA_PROTOCOL);
    if (protocol.size() != 1 || static_cast<uint8_t>(protocol[0]) != RTPROT_KERNEL) {
      throw refusal("a routing rule");
    }
  });
  ask<ndmsg>(RTM_GETNEIGH, [](const netlink::Message& message) {
    if ((fixed_part<ndmsg>(message).ndm_state & NUD_PERMANENT) != 0) {
      throw refusal("a permanent neighbour entry");
    }
  });
}

void refuse_filters() {
  const nfgenmsg any{AF_UNSPEC, NFNETLINK_V0, 0};
  try {
    netlink::dump(NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
                  std::as_bytes(std::span(&any, 1)), [](const netlink::Message& message) {
                    throw refusal("nftables table {}", text(message.attribute(sizeof any, NFTA_TABLE_NAME)));
                  });
  } catch (const Error& e) {
    // A kernel without nftables has no tables.
    if (e.code() != EOPNOTSUPP && e.code() != EINVAL && e.code() != EPROTONOSUPPORT) {
      throw;
    }
  }
  for (const char* name : {"ip_tables_names", "ip6_tables_names", "arp_tables_names"}) {
    const std::string path = fmt::format("/proc/thread-self/net/{}", name);
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      continue;  // the module isn't there
    }
    if (const std::string tables = read_all(file.get(), path); !tables.empty()) {
      throw refusal("the legacy table {} of {}", tables.substr(0, tables.find('\n')), name);
    }
  }
}

}  // namespace

void collect_net_namespace(image::NetNamespace& record, bool only_loopback) {
  collect_links(record, only_loopback);
  if (only_loopback) {
    return;
  }
  refuse_addresses();
  refuse_routes();
  refuse_filters();
}

}  // namespace godwit
