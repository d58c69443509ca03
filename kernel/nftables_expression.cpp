#include "kernel/nftables_expression.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include <cstddef>
#include <cstring>

#include "kernel/netlink.h"

namespace godwit::nftables {

namespace {

uint32_t number(std::span<const std::byte> data, uint16_t type) {
  return ntohl(netlink::to_u32(netlink::find(data, type)));
}

/// Whether it loads the field that says which protocol a packet is of: that of the transport, or for bridges
/// that of the network.
bool loads_protocol(const Expression& expression, uint8_t family) {
  if (expression.name == "meta") {
    const uint32_t key = number(expression.data, NFTA_META_KEY);
    return key == (family == NFPROTO_BRIDGE ? NFT_META_PROTOCOL : NFT_META_L4PROTO);
  }
  if (expression.name != "payload") {
    return false;
  }
  const uint32_t base = number(expression.data, NFTA_PAYLOAD_BASE);
  const uint32_t offset = number(expression.data, NFTA_PAYLOAD_OFFSET);
  const uint32_t length = number(expression.data, NFTA_PAYLOAD_LEN);
  switch (family) {
    case NFPROTO_BRIDGE:
      return base == NFT_PAYLOAD_LL_HEADER && offset == 12 && length == 2;  // h_proto of struct ethhdr
    case NFPROTO_IPV4:
      return base == NFT_PAYLOAD_NETWORK_HEADER && offset == offsetof(iphdr, protocol) && length == 1;
    case NFPROTO_IPV6:
      return base == NFT_PAYLOAD_NETWORK_HEADER && offset == offsetof(ip6_hdr, ip6_nxt) && length == 1;
    default:
      return false;
  }
}

/// Of a verdict.
std::string chain_in(std::span<const std::byte> data) {
  const auto verdict = netlink::find(data, NFTA_DATA_VERDICT);
  return netlink::to_text(netlink::find(verdict, NFTA_VERDICT_CHAIN));
}

}  // namespace

std::vector<Expression> expressions_of(const Part& rule) {
  std::vector<Expression> found;
  const auto payload = std::as_bytes(std::span(rule.payload));
  const netlink::Message message{rule.type, payload};
  for (const auto& element :
       netlink::attributes(message.attribute(sizeof(nfgenmsg), NFTA_RULE_EXPRESSIONS))) {
    found.push_back({netlink::to_text(netlink::find(element.value, NFTA_EXPR_NAME)),
                     netlink::find(element.value, NFTA_EXPR_DATA)});
  }
  return found;
}

std::optional<FilterExtension> extension_of(const Expression& expression) {
  if (expression.name == "match") {
    return FilterExtension{netlink::to_text(netlink::find(expression.data, NFTA_MATCH_NAME)),
                           static_cast<uint8_t>(number(expression.data, NFTA_MATCH_REV)),
                           netlink::find(expression.data, NFTA_MATCH_INFO)};
  }
  if (expression.name == "target") {
    return FilterExtension{netlink::to_text(netlink::find(expression.data, NFTA_TARGET_NAME)),
                           static_cast<uint8_t>(number(expression.data, NFTA_TARGET_REV)),
                           netlink::find(expression.data, NFTA_TARGET_INFO)};
  }
  return std::nullopt;
}

std::string target_of(const Expression& expression) {
  return expression.name == "immediate" ? chain_in(netlink::find(expression.data, NFTA_IMMEDIATE_DATA))
                                        : std::string();
}

std::vector<std::byte> protocol_for_extensions(const Part& rule) {
  const std::vector<Expression> expressions = expressions_of(rule);
  const auto family = static_cast<uint8_t>(rule.payload.front());
  bool extended = false;
  std::optional<uint32_t> from;  // the register with the protocol in it
  std::vector<std::byte> found;
  for (const Expression& expression : expressions) {
    extended = extended || extension_of(expression).has_value();
    if (!found.empty()) {
      continue;
    }
    if (loads_protocol(expression, family)) {
      const bool meta = expression.name == "meta";
      from = number(expression.data, meta ? uint16_t{NFTA_META_DREG} : uint16_t{NFTA_PAYLOAD_DREG});
    } else if (expression.name == "cmp" && from == number(expression.data, NFTA_CMP_SREG)) {
      const auto value = netlink::find(netlink::find(expression.data, NFTA_CMP_DATA), NFTA_DATA_VALUE);
      // One byte, or two in network order, which is how the kernel wants them, too.
      uint32_t protocol = 0;
      std::memcpy(&protocol, value.data(), std::min<size_t>(value.size(), 2));
      const uint32_t flags = number(expression.data, NFTA_CMP_OP) == NFT_CMP_NEQ ? NFT_RULE_COMPAT_F_INV : 0;
      netlink::Request request(0);
      request.add_u32(NFTA_RULE_COMPAT_PROTO, htonl(protocol)).add_u32(NFTA_RULE_COMPAT_FLAGS, htonl(flags));
      found.assign(request.payload().begin(), request.payload().end());
    }
  }
  return extended ? found : std::vector<std::byte>();
}

}  // namespace godwit::nftables
