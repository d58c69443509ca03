#include "kernel/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/netlink.h"
#include "kernel/nftables_expression.h"
#include "kernel/nftables_heard.h"

namespace godwit::nftables {

namespace {

/// What Linux 6.17 has and linux-libc-dev doesn't yet know.
constexpr uint16_t kSetType = 19;   // NFTA_SET_TYPE
constexpr uint16_t kSetCount = 20;  // NFTA_SET_COUNT

/// What there is to know of one type of part.
struct Kind {
  uint16_t create;
  uint16_t get;
  std::string_view name;
  uint16_t name_attribute;   // 0: none
  uint16_t table_attribute;  // 0: none
  uint64_t kept;             // bits: attributes that describe it
  uint64_t told;             // those that the kernel only tells: handles, use counts
};

constexpr uint64_t bits(std::initializer_list<uint16_t> attributes) {
  uint64_t found = 0;
  for (const uint16_t attribute : attributes) {
    found |= uint64_t{1} << attribute;
  }
  return found;
}

/// In the order in which they can be loaded.
constexpr std::array<Kind, 7> kKinds = {{
    {NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, "table", NFTA_TABLE_NAME, 0,
     bits({NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFTA_TABLE_USERDATA}),
     bits({NFTA_TABLE_USE, NFTA_TABLE_HANDLE, NFTA_TABLE_PAD, NFTA_TABLE_OWNER})},
    {NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN, "chain", NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE,
     bits({NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE,
           NFTA_CHAIN_COUNTERS, NFTA_CHAIN_FLAGS, NFTA_CHAIN_USERDATA}),
     bits({NFTA_CHAIN_HANDLE, NFTA_CHAIN_USE, NFTA_CHAIN_PAD})},
    {NFT_MSG_NEWOBJ, NFT_MSG_GETOBJ, "object", NFTA_OBJ_NAME, NFTA_OBJ_TABLE,
     bits({NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA, NFTA_OBJ_USERDATA}),
     bits({NFTA_OBJ_USE, NFTA_OBJ_HANDLE, NFTA_OBJ_PAD})},
    {NFT_MSG_NEWFLOWTABLE, NFT_MSG_GETFLOWTABLE, "flowtable", NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE,
     bits({NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_FLAGS}),
     bits({NFTA_FLOWTABLE_USE, NFTA_FLOWTABLE_HANDLE, NFTA_FLOWTABLE_PAD})},
    {NFT_MSG_NEWSET, NFT_MSG_GETSET, "set", NFTA_SET_NAME, NFTA_SET_TABLE,
     bits({NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN,
           NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, NFTA_SET_POLICY, NFTA_SET_DESC, NFTA_SET_TIMEOUT,
           NFTA_SET_GC_INTERVAL, NFTA_SET_USERDATA, NFTA_SET_OBJ_TYPE, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS}),
     bits({NFTA_SET_HANDLE, NFTA_SET_PAD, kSetType, kSetCount})},
    {NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM, "elements of set", NFTA_SET_ELEM_LIST_SET,
     NFTA_SET_ELEM_LIST_TABLE,
     bits({NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS}), 0},
    {NFT_MSG_NEWRULE, NFT_MSG_GETRULE, "rule in chain", NFTA_RULE_CHAIN, NFTA_RULE_TABLE,
     bits({NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_COMPAT, NFTA_RULE_USERDATA}),
     bits({NFTA_RULE_HANDLE, NFTA_RULE_POSITION, NFTA_RULE_PAD})},
}};

const Kind* find_kind(uint32_t type) {
  const auto found = std::ranges::find(kKinds, type, &Kind::create);
  return found == kKinds.end() ? nullptr : &*found;
}

constexpr uint16_t message_type(uint16_t type) {
  return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
}

netlink::Message as_message(const Part& part) {
  return {part.type, std::as_bytes(std::span(part.payload))};
}

std::string text(const Part& part, uint16_t attribute) {
  return netlink::to_text(as_message(part).attribute(sizeof(nfgenmsg), attribute));
}

uint32_t number(const Part& part, uint16_t attribute) {
  return ntohl(netlink::to_u32(as_message(part).attribute(sizeof(nfgenmsg), attribute)));
}

nfgenmsg header_of(uint8_t family) {
  return {family, NFNETLINK_V0, 0};
}

/// Which chain a rule is in, or which chain or set this is.
using Name = std::tuple<char, std::string, std::string>;  // family, table, its own

Name name_of(const Part& part) {
  const Kind& kind = *find_kind(part.type);
  return {part.payload.front(), text(part, kind.table_attribute), text(part, kind.name_attribute)};
}

/// What describes the part.
Part canonical(const Kind& kind, const netlink::Message& message) {
  netlink::Request request(kind.create);
  request.fixed(header_of(message.payload.empty() ? 0 : static_cast<uint8_t>(message.payload.front())));
  const uint32_t object = ntohl(netlink::to_u32(message.attribute(sizeof(nfgenmsg), NFTA_OBJ_TYPE)));
  for (const netlink::Attribute& attribute : message.attributes(sizeof(nfgenmsg))) {
    const uint64_t bit = attribute.type < 64 ? uint64_t{1} << attribute.type : 0;
    if ((kind.kept & bit) != 0) {
      request.add(attribute.type, as_heard(kind.create, attribute.type, attribute.value, object));
    } else if ((kind.told & bit) == 0) {
      log::warning("nftables {}: its attribute {} isn't known, and not kept", kind.name, attribute.type);
    }
  }
  const auto payload = request.payload();
  return {kind.create, {reinterpret_cast<const char*>(payload.data()), payload.size()}};
}

void get(netlink::Connection& connection, const netlink::Request& request, const Kind& kind,
         std::vector<Part>& found) {
  connection.dump(request,
                  [&](const netlink::Message& message) { found.push_back(canonical(kind, message)); });
}

/// The rules of a chain that belongs to a rule (`jump { … }`) come before that: the kernel takes no more of
/// them once somebody jumps there.
class RuleOrder {
 public:
  RuleOrder(const std::vector<Part>& parts, std::vector<Part> rules) {
    for (const Part& part : parts) {
      if (part.type == NFT_MSG_NEWCHAIN && (number(part, NFTA_CHAIN_FLAGS) & NFT_CHAIN_BINDING) != 0) {
        bound_.insert(name_of(part));
      }
    }
    for (Part& rule : rules) {
      const Name chain = name_of(rule);
      if (!by_chain_.contains(chain)) {
        chains_.push_back(chain);
      }
      by_chain_[chain].push_back(std::move(rule));
    }
  }

  void append_to(std::vector<Part>& parts) {
    for (const Name& chain : chains_) {
      append(chain, parts);
    }
  }

 private:
  void append(const Name& chain, std::vector<Part>& parts) {
    const auto found = by_chain_.find(chain);
    if (found == by_chain_.end()) {
      return;
    }
    std::vector<Part> rules = std::move(found->second);
    by_chain_.erase(found);
    for (Part& rule : rules) {
      for (const Expression& expression : expressions_of(rule)) {
        const Name target{std::get<0>(chain), std::get<1>(chain), target_of(expression)};
        if (bound_.contains(target)) {
          append(target, parts);
        }
      }
      parts.push_back(std::move(rule));
    }
  }

  std::set<Name> bound_;
  std::vector<Name> chains_;
  std::map<Name, std::vector<Part>> by_chain_;
};

/// A rule with what its extensions need to know.
Part with_protocol(const Part& rule) {
  const std::vector<std::byte> protocol = protocol_for_extensions(rule);
  if (protocol.empty()) {
    return rule;
  }
  netlink::Request request(rule.type);
  request.raw(rule.payload).add(NFTA_RULE_COMPAT | NLA_F_NESTED, protocol);
  const auto payload = request.payload();
  return {rule.type, {reinterpret_cast<const char*>(payload.data()), payload.size()}};
}

void get_elements(netlink::Connection& connection, const Kind& kind, std::vector<Part>& parts) {
  std::vector<Part> elements;
  for (const Part& set : parts) {
    if (set.type != NFT_MSG_NEWSET) {
      continue;
    }
    netlink::Request request(message_type(kind.get));
    request.fixed(header_of(static_cast<uint8_t>(set.payload.front())));
    for (const auto& [attribute, of_set] :
         {std::pair(NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_TABLE), {NFTA_SET_ELEM_LIST_SET, NFTA_SET_NAME}}) {
      request.add(attribute, as_message(set).attribute(sizeof(nfgenmsg), of_set));
    }
    get(connection, request, kind, elements);
  }
  std::erase_if(elements, [&](const Part& part) {
    return as_message(part).attribute(sizeof(nfgenmsg), NFTA_SET_ELEM_LIST_ELEMENTS).empty();
  });
  std::ranges::move(elements, std::back_inserter(parts));
}

std::vector<Part> list_once(netlink::Connection& connection) {
  std::vector<Part> parts;
  for (const Kind& kind : kKinds) {
    netlink::Request request(message_type(kind.get));
    request.fixed(header_of(NFPROTO_UNSPEC));
    if (kind.create == NFT_MSG_NEWSETELEM) {
      get_elements(connection, kind, parts);
    } else if (kind.create == NFT_MSG_NEWRULE) {
      std::vector<Part> rules;
      get(connection, request, kind, rules);
      std::ranges::transform(rules, rules.begin(), with_protocol);
      RuleOrder(parts, std::move(rules)).append_to(parts);
    } else {
      get(connection, request, kind, parts);
    }
    if (parts.empty()) {
      break;  // without a table there is nothing
    }
  }
  return parts;
}

/// Changes with each batch.
uint32_t generation(netlink::Connection& connection) {
  netlink::Request request(message_type(NFT_MSG_GETGEN));
  request.fixed(header_of(NFPROTO_UNSPEC));
  uint32_t found = 0;
  connection.change(request, [&](const netlink::Message& message) {
    found = netlink::to_u32(message.attribute(sizeof(nfgenmsg), NFTA_GEN_ID));
  });
  return found;
}

netlink::Request request_for(const Part& part, uint32_t& sets) {
  const bool adds_to_others = part.type == NFT_MSG_NEWRULE || part.type == NFT_MSG_NEWSETELEM;
  netlink::Request request(
      message_type(part.type),
      static_cast<uint16_t>(NLM_F_CREATE | (adds_to_others ? NLM_F_APPEND : NLM_F_EXCL)));
  request.raw(part.payload);
  if (part.type == NFT_MSG_NEWSET) {
    request.add_u32(NFTA_SET_ID, htonl(++sets));  // one must be there; nobody refers to it
  }
  return request;
}

}  // namespace

bool is_part(uint32_t type) {
  return find_kind(type) != nullptr;
}

std::vector<Part> list() {
  constexpr int kMaxTries = 20;
  std::optional<netlink::Connection> connection;
  uint32_t before = 0;
  try {
    connection.emplace(NETLINK_NETFILTER);
    before = generation(*connection);
  } catch (const Error& e) {
    if (e.code() == EINVAL || e.code() == EPROTONOSUPPORT) {
      return {};  // nfnetlink knows no such subsystem, or isn't there itself
    }
    throw;
  }
  for (int tries = 0; tries < kMaxTries; ++tries) {
    std::vector<Part> parts = list_once(*connection);
    const uint32_t after = generation(*connection);
    if (after == before) {
      return parts;
    }
    before = after;
  }
  throw Error("the nftables ruleset changed each time while it was read", EINTR);
}

void load(std::span<const Part> parts) {
  std::vector<netlink::Request> requests;
  uint32_t sets = 0;
  for (const Part& part : parts) {
    requests.push_back(request_for(part, sets));
  }
  netlink::Connection(NETLINK_NETFILTER).change_all(requests, NFNL_SUBSYS_NFTABLES, [&](size_t i) {
    return describe(parts[i]);
  });
}

std::string describe(const Part& part) {
  constexpr std::pair<int, std::string_view> kFamilies[] = {
      {NFPROTO_INET, "inet"}, {NFPROTO_IPV4, "ip"},       {NFPROTO_IPV6, "ip6"},
      {NFPROTO_ARP, "arp"},   {NFPROTO_BRIDGE, "bridge"}, {NFPROTO_NETDEV, "netdev"}};
  const Kind& kind = *find_kind(part.type);
  const auto* family = std::ranges::find(kFamilies, part.payload.front(),
                                         [](const auto& known) { return static_cast<char>(known.first); });
  const std::string_view of = family == std::end(kFamilies) ? "unknown" : family->second;
  if (kind.table_attribute == 0) {
    return fmt::format("nftables {} {} {}", kind.name, of, text(part, kind.name_attribute));
  }
  std::string does;
  for (const Expression& expression :
       part.type == NFT_MSG_NEWRULE ? expressions_of(part) : std::vector<Expression>()) {
    const auto extension = extension_of(expression);
    does += fmt::format("{}{}", does.empty() ? " (" : " ", extension ? extension->name : expression.name);
  }
  return fmt::format("nftables {} {} of table {} {}{}{}", kind.name, text(part, kind.name_attribute), of,
                     text(part, kind.table_attribute), does, does.empty() ? "" : ")");
}

}  // namespace godwit::nftables
