#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <string>

#include "dump/net.h"
#include "kernel/error.h"
#include "kernel/nftables.h"
#include "kernel/nftables_expression.h"

namespace godwit {

namespace {

constexpr uint32_t kSocketCgroup = 3;  // NFT_SOCKET_CGROUPV2

uint32_t number(std::span<const std::byte> attributes, uint16_t type) {
  return ntohl(netlink::to_u32(netlink::find(attributes, type)));
}

void check_table(const nftables::Part& table) {
  const netlink::Message message{table.type, std::as_bytes(std::span(table.payload))};
  if ((ntohl(netlink::to_u32(message.attribute(sizeof(nfgenmsg), NFTA_TABLE_FLAGS))) & NFT_TABLE_F_OWNER) !=
      0) {
    throw refusal("{}, which goes with the program that owns it,", nftables::describe(table));
  }
}

void check_rule(const nftables::Part& rule) {
  for (const nftables::Expression& expression : nftables::expressions_of(rule)) {
    if (expression.name == "socket" && number(expression.data, NFTA_SOCKET_KEY) == kSocketCgroup) {
      throw refusal("{} by cgroup", nftables::describe(rule));  // whose number will be another
    }
    if (const auto extension = nftables::extension_of(expression)) {
      check_filter_extension(nftables::describe(rule), *extension);
    }
  }
}

}  // namespace

void collect_nftables(image::NetNamespace& record) {
  for (nftables::Part& part : nftables::list()) {
    if (part.type == NFT_MSG_NEWTABLE) {
      check_table(part);
    } else if (part.type == NFT_MSG_NEWRULE) {
      check_rule(part);
    }
    image::NetFilterPart& kept = *record.add_nftables();
    kept.set_type(part.type);
    kept.set_payload(std::move(part.payload));
  }
}

}  // namespace godwit
