#include "kernel/conntrack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "kernel/netlink.h"

namespace godwit::conntrack {

namespace {

using Value = std::span<const std::byte>;

constexpr uint16_t message_type(int subsystem, int type) {
  return static_cast<uint16_t>(subsystem << 8 | type);
}

constexpr uint16_t kGetConnections = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET);
constexpr uint16_t kNewConnection = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW);
constexpr uint16_t kGetExpectations = message_type(NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_EXP_GET);
constexpr uint16_t kNewExpectation = message_type(NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_EXP_NEW);

std::string bytes_of(Value value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

netlink::Message as_message(std::string_view entry) {
  return {0, std::as_bytes(std::span(entry))};
}

Value attribute(std::string_view entry, uint16_t type) {
  return as_message(entry).attribute(sizeof(nfgenmsg), type);
}

uint32_t number(std::string_view entry, uint16_t type) {
  return ntohl(netlink::to_u32(attribute(entry, type)));
}

/// One direction of a connection.
struct Tuple {
  explicit Tuple(Value value)
      : address(netlink::find(value, CTA_TUPLE_IP)), protocol(netlink::find(value, CTA_TUPLE_PROTO)) {}
  Tuple(std::string_view entry, uint16_t type) : Tuple(attribute(entry, type)) {}

  [[nodiscard]] Value source() const { return either(address, CTA_IP_V4_SRC, CTA_IP_V6_SRC); }
  [[nodiscard]] Value destination() const { return either(address, CTA_IP_V4_DST, CTA_IP_V6_DST); }
  /// Of a protocol without ports: what it tells its packets by, the same in both directions.
  [[nodiscard]] Value source_port() const { return port(CTA_PROTO_SRC_PORT); }
  [[nodiscard]] Value destination_port() const { return port(CTA_PROTO_DST_PORT); }

  Value address;   // attributes CTA_IP_
  Value protocol;  // attributes CTA_PROTO_

 private:
  static Value either(Value attributes, uint16_t one, uint16_t other) {
    const Value found = netlink::find(attributes, one);
    return found.empty() ? netlink::find(attributes, other) : found;
  }
  [[nodiscard]] Value port(uint16_t type) const {
    const Value found = netlink::find(protocol, type);
    return found.empty() ? either(protocol, CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID) : found;
  }
};

void add_port(netlink::Request& request, const netlink::Attribute& there, const Tuple& other) {
  switch (there.type) {
    case CTA_PROTO_SRC_PORT:
      request.add(there.type, other.destination_port());
      break;
    case CTA_PROTO_DST_PORT:
    case CTA_PROTO_ICMP_ID:
    case CTA_PROTO_ICMPV6_ID:
      request.add(there.type, other.source_port());
      break;
    default:
      request.add(there.type, there.value);
      break;
  }
}

/// The answers' direction as it would be if nothing were translated: the kernel wants to do that itself.
void add_untranslated_reply(netlink::Request& request, const Tuple& original, Value reply) {
  const Tuple told(reply);
  request.nest(CTA_TUPLE_REPLY, [&] {
    request.nest(CTA_TUPLE_IP, [&] {
      const bool ipv6 = original.source().size() == sizeof(in6_addr);
      request.add(ipv6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, original.destination());
      request.add(ipv6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, original.source());
    });
    request.nest(CTA_TUPLE_PROTO, [&] {
      for (const netlink::Attribute& part : netlink::attributes(told.protocol)) {
        add_port(request, part, original);
      }
    });
    if (const Value zone = netlink::find(reply, CTA_TUPLE_ZONE); !zone.empty()) {
      request.add(CTA_TUPLE_ZONE, zone);
    }
  });
}

void add_translation(netlink::Request& request, uint16_t type, Value address, Value port) {
  request.nest(type, [&] {
    const bool ipv6 = address.size() == sizeof(in6_addr);
    request.add(ipv6 ? CTA_NAT_V6_MINIP : CTA_NAT_V4_MINIP, address);
    request.add(ipv6 ? CTA_NAT_V6_MAXIP : CTA_NAT_V4_MAXIP, address);
    if (!port.empty()) {
      request.nest(CTA_NAT_PROTO, [&] {
        request.add(CTA_PROTONAT_PORT_MIN, port);
        request.add(CTA_PROTONAT_PORT_MAX, port);
      });
    }
  });
}

void add_number(netlink::Request& request, uint16_t type, uint32_t value) {
  request.add_u32(type, htonl(value));
}

/// Flags of TCP are heeded only as far as a mask says, which is told as zero.
void add_protocol_state(netlink::Request& request, Value state) {
  const Value tcp = netlink::find(state, CTA_PROTOINFO_TCP);
  if (tcp.empty()) {
    request.add(CTA_PROTOINFO | NLA_F_NESTED, state);
    return;
  }
  request.nest(CTA_PROTOINFO, [&] {
    request.nest(CTA_PROTOINFO_TCP, [&] {
      for (const netlink::Attribute& part : netlink::attributes(tcp)) {
        nf_ct_tcp_flags flags{};
        const bool has_flags =
            part.type == CTA_PROTOINFO_TCP_FLAGS_ORIGINAL || part.type == CTA_PROTOINFO_TCP_FLAGS_REPLY;
        if (has_flags && part.value.size() == sizeof flags) {
          std::memcpy(&flags, part.value.data(), sizeof flags);
          flags.mask = UINT8_MAX;
          request.add(part.type, std::as_bytes(std::span(&flags, 1)));
        } else {
          request.add(part.type, part.value);
        }
      }
    });
  });
}

std::string payload_of(const netlink::Request& request) {
  return bytes_of(request.payload());
}

std::string heard_connection(std::string_view told) {
  constexpr uint32_t kSettable = IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT;
  const uint32_t status = number(told, CTA_STATUS);
  const Tuple original(told, CTA_TUPLE_ORIG);
  const Tuple reply(told, CTA_TUPLE_REPLY);
  netlink::Request request(kNewConnection);
  request.fixed(nfgenmsg{static_cast<uint8_t>(told.front()), NFNETLINK_V0, 0});
  for (const netlink::Attribute& part : as_message(told).attributes(sizeof(nfgenmsg))) {
    switch (part.type) {
      case CTA_TUPLE_ORIG:
      case CTA_TUPLE_MASTER:
      case CTA_HELP:
      case CTA_SEQ_ADJ_ORIG:
      case CTA_SEQ_ADJ_REPLY:
      case CTA_SYNPROXY:
        request.add(part.type | NLA_F_NESTED, part.value);
        break;
      case CTA_TUPLE_REPLY:
        add_untranslated_reply(request, original, part.value);
        break;
      case CTA_STATUS:
        add_number(request, CTA_STATUS, (status & kSettable) | IPS_CONFIRMED);
        break;
      case CTA_TIMEOUT:
        add_number(request, CTA_TIMEOUT, std::max(1U, number(told, CTA_TIMEOUT)));
        break;
      case CTA_PROTOINFO:
        add_protocol_state(request, part.value);
        break;
      case CTA_MARK:
      case CTA_ZONE:
      case CTA_LABELS:
        request.add(part.type, part.value);
        break;
      case CTA_COUNTERS_ORIG:
      case CTA_COUNTERS_REPLY:
      case CTA_USE:
      case CTA_ID:
      case CTA_SECMARK:
      case CTA_SECCTX:
      case CTA_TIMESTAMP:
        break;
      default:
        log::warning("tracked connections: their attribute {} isn't known, and not kept", part.type);
        break;
    }
  }
  if ((status & IPS_SRC_NAT) != 0) {
    add_translation(request, CTA_NAT_SRC, reply.destination(), reply.destination_port());
  }
  if ((status & IPS_DST_NAT) != 0) {
    add_translation(request, CTA_NAT_DST, reply.source(), reply.source_port());
  }
  return payload_of(request);
}

/// By whom a connection is known to those that it has brought about.
using Masters = std::map<std::string, std::string>;  // the original direction, the zone

std::string heard_expectation(std::string_view told, const Masters& zones) {
  netlink::Request request(kNewExpectation);
  request.fixed(nfgenmsg{static_cast<uint8_t>(told.front()), NFNETLINK_V0, 0});
  for (const netlink::Attribute& part : as_message(told).attributes(sizeof(nfgenmsg))) {
    switch (part.type) {
      case CTA_EXPECT_MASTER:
      case CTA_EXPECT_TUPLE:
      case CTA_EXPECT_MASK:
      case CTA_EXPECT_NAT:
        request.add(part.type | NLA_F_NESTED, part.value);
        break;
      case CTA_EXPECT_TIMEOUT:
      case CTA_EXPECT_HELP_NAME:
      case CTA_EXPECT_FLAGS:
      case CTA_EXPECT_CLASS:
      case CTA_EXPECT_FN:
        request.add(part.type, part.value);
        break;
      case CTA_EXPECT_ID:
        break;
      default:
        log::warning("expected connections: their attribute {} isn't known, and not kept", part.type);
        break;
    }
  }
  const auto master = zones.find(bytes_of(attribute(told, CTA_EXPECT_MASTER)));
  if (master != zones.end() && !master->second.empty()) {
    request.add(CTA_EXPECT_ZONE, master->second);
  }
  return payload_of(request);
}

void get(netlink::Connection& connection, uint16_t type, const std::function<void(std::string)>& visit) {
  netlink::Request request(type);
  request.fixed(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  connection.dump(request, [&](const netlink::Message& message) {
    if (message.payload.size() >= sizeof(nfgenmsg)) {
      visit(bytes_of(message.payload));
    }
  });
}

/// Masters come before those that they have brought about.
std::vector<std::string> by_descent(std::vector<std::string> told) {
  std::map<std::string, bool> placed;  // by the original direction
  for (const std::string& entry : told) {
    placed[bytes_of(attribute(entry, CTA_TUPLE_ORIG))] = false;
  }
  std::vector<std::string> ordered;
  for (size_t before = told.size() + 1; told.size() < before;) {
    before = told.size();
    std::erase_if(told, [&](std::string& entry) {
      const auto master = placed.find(bytes_of(attribute(entry, CTA_TUPLE_MASTER)));
      if (master != placed.end() && !master->second) {
        return false;
      }
      placed[bytes_of(attribute(entry, CTA_TUPLE_ORIG))] = true;
      ordered.push_back(std::move(entry));
      return true;
    });
  }
  std::ranges::move(told, std::back_inserter(ordered));
  return ordered;
}

bool is_anything_tracked() {
  const std::string path = "/proc/sys/net/netfilter/nf_conntrack_count";
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file && !read_all(file.get(), path).starts_with("0\n");
}

std::string in_words(const Tuple& tuple) {
  const auto end = [](Value address, Value port) {
    char text[INET6_ADDRSTRLEN] = "?";
    const bool ipv6 = address.size() == sizeof(in6_addr);
    if (ipv6 || address.size() == sizeof(in_addr)) {
      ::inet_ntop(ipv6 ? AF_INET6 : AF_INET, address.data(), text, sizeof text);
    }
    return fmt::format("{}:{}", text, ntohs(static_cast<uint16_t>(netlink::to_u32(port))));
  };
  return fmt::format(
      "protocol {} from {} to {}", netlink::to_u32(netlink::find(tuple.protocol, CTA_PROTO_NUM)),
      end(tuple.source(), tuple.source_port()), end(tuple.destination(), tuple.destination_port()));
}

}  // namespace

Entries list() {
  Entries entries;
  if (!is_anything_tracked()) {
    return entries;
  }
  netlink::Connection connection(NETLINK_NETFILTER);
  std::vector<std::string> told;
  get(connection, kGetConnections, [&](std::string entry) {
    if ((number(entry, CTA_STATUS) & IPS_OFFLOAD) != 0) {
      throw refusal("{}, which a flowtable carries,", describe(entry));
    }
    told.push_back(std::move(entry));
  });
  Masters zones;
  for (const std::string& entry : told) {
    zones[bytes_of(attribute(entry, CTA_TUPLE_ORIG))] = bytes_of(attribute(entry, CTA_ZONE));
  }
  for (const std::string& entry : by_descent(std::move(told))) {
    entries.connections.push_back(heard_connection(entry));
  }
  get(connection, kGetExpectations,
      [&](const std::string& entry) { entries.expectations.push_back(heard_expectation(entry, zones)); });
  return entries;
}

void load(const Entries& entries) {
  netlink::Connection connection(NETLINK_NETFILTER);
  for (const std::string& entry : entries.connections) {
    netlink::Request request(kNewConnection, NLM_F_CREATE | NLM_F_EXCL);
    with_context([&] { return describe(entry); }, [&] { connection.change(request.raw(entry)); });
  }
  for (const std::string& entry : entries.expectations) {
    // How long it may take is heard only when it is there already.
    for (const int flags : {NLM_F_CREATE | NLM_F_EXCL, 0}) {
      netlink::Request request(kNewExpectation, static_cast<uint16_t>(flags));
      with_context([&] { return "expected connection of " + in_words(Tuple(entry, CTA_EXPECT_TUPLE)); },
                   [&] { connection.change(request.raw(entry)); });
    }
  }
}

std::string describe(std::string_view connection) {
  return "tracked connection of " + in_words(Tuple(connection, CTA_TUPLE_ORIG));
}

}  // namespace godwit::conntrack
