#include "kernel/nftables_table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "kernel/error.h"

namespace godwit::nftables {

namespace {

using netlink::Request;

constexpr uint32_t kCompared = NFT_REG32_15;  // a register that no key reaches
constexpr uint32_t kWordBytes = 4;
constexpr size_t kMaxCommentBytes = 100;
constexpr std::byte kComment{0};  // NFTNL_UDATA_SET_ELEM_COMMENT of nft(8)'s user data

nfgenmsg family() {
  return {NFPROTO_INET, NFNETLINK_V0, 0};
}

Request request(uint16_t type, uint16_t flags = 0) {
  Request made(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), flags);
  made.fixed(family());
  return made;
}

/// Numbers are in network byte order there.
void add_number(Request& to, uint16_t type, uint32_t value) {
  to.add_u32(type, htonl(value));
}

void add_name(Request& to, uint16_t type, std::string_view name) {
  to.add(type, std::string(name) + '\0');
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Type, length, the text and its final zero.
std::vector<std::byte> user_data(std::string_view comment) {
  const std::string_view text = comment.substr(0, kMaxCommentBytes);
  std::vector<std::byte> data{kComment, static_cast<std::byte>(text.size() + 1)};
  data.insert(data.end(), bytes_of(text).begin(), bytes_of(text).end());
  data.push_back(std::byte{0});
  return data;
}

std::string comment_of(std::span<const std::byte> data) {
  while (data.size() >= 2) {
    const auto length = static_cast<size_t>(data[1]);
    if (data.size() < 2 + length) {
      break;
    }
    if (data[0] == kComment) {
      return netlink::to_text(data.subspan(2, length));
    }
    data = data.subspan(2 + length);
  }
  return {};
}

}  // namespace

netlink::Connection connect() {
  return netlink::Connection(NETLINK_NETFILTER);
}

Rule& Rule::load(uint32_t header, uint32_t offset, uint32_t length) {
  const uint32_t to = NFT_REG32_00 + next_register_;
  next_register_ += (length + kWordBytes - 1) / kWordBytes;
  expressions_.push_back({"payload", [=](Request& of) {
                            add_number(of, NFTA_PAYLOAD_DREG, to);
                            add_number(of, NFTA_PAYLOAD_BASE, header);
                            add_number(of, NFTA_PAYLOAD_OFFSET, offset);
                            add_number(of, NFTA_PAYLOAD_LEN, length);
                          }});
  return *this;
}

Rule& Rule::meta_is(uint32_t key, std::span<const std::byte> value) {
  expressions_.push_back({"meta", [=](Request& of) {
                            add_number(of, NFTA_META_KEY, key);
                            add_number(of, NFTA_META_DREG, kCompared);
                          }});
  expressions_.push_back({"cmp", [copy = std::vector(value.begin(), value.end())](Request& of) {
                            add_number(of, NFTA_CMP_SREG, kCompared);
                            add_number(of, NFTA_CMP_OP, NFT_CMP_EQ);
                            of.nest(NFTA_CMP_DATA, [&] { of.add(NFTA_DATA_VALUE, copy); });
                          }});
  return *this;
}

Rule& Rule::of_family(uint8_t family) {
  const uint8_t value = family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;
  return meta_is(NFT_META_NFPROTO, std::as_bytes(std::span(&value, 1)));
}

Rule& Rule::of_protocol(uint8_t protocol) {
  return meta_is(NFT_META_L4PROTO, std::as_bytes(std::span(&protocol, 1)));
}

Rule& Rule::with_mark(uint32_t mark) {
  return meta_is(NFT_META_MARK, std::as_bytes(std::span(&mark, 1)));
}

Rule& Rule::in_set(std::string_view set) {
  expressions_.push_back({"lookup", [name = std::string(set)](Request& of) {
                            add_name(of, NFTA_LOOKUP_SET, name);
                            add_number(of, NFTA_LOOKUP_SREG, NFT_REG32_00);
                          }});
  return *this;
}

Rule& Rule::verdict(uint32_t code) {
  expressions_.push_back({"immediate", [=](Request& of) {
                            add_number(of, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                            of.nest(NFTA_IMMEDIATE_DATA, [&] {
                              of.nest(NFTA_DATA_VERDICT, [&] { add_number(of, NFTA_VERDICT_CODE, code); });
                            });
                          }});
  return *this;
}

Batch& Batch::add_table(std::string_view table, bool owned) {
  Request& made = requests_.emplace_back(request(NFT_MSG_NEWTABLE, NLM_F_CREATE));
  add_name(made, NFTA_TABLE_NAME, table);
  add_number(made, NFTA_TABLE_FLAGS, owned ? NFT_TABLE_F_OWNER : 0);
  return *this;
}

Batch& Batch::delete_table(std::string_view table) {
  add_name(requests_.emplace_back(request(NFT_MSG_DELTABLE)), NFTA_TABLE_NAME, table);
  return *this;
}

Batch& Batch::add_chain(std::string_view table, const Chain& chain) {
  Request& made = requests_.emplace_back(request(NFT_MSG_NEWCHAIN, NLM_F_CREATE));
  add_name(made, NFTA_CHAIN_TABLE, table);
  add_name(made, NFTA_CHAIN_NAME, chain.name);
  made.nest(NFTA_CHAIN_HOOK, [&] {
    add_number(made, NFTA_HOOK_HOOKNUM, chain.hook);
    add_number(made, NFTA_HOOK_PRIORITY, static_cast<uint32_t>(chain.priority));
  });
  add_name(made, NFTA_CHAIN_TYPE, "filter");
  return *this;
}

Batch& Batch::add_set(std::string_view table, std::string_view set, uint32_t key_type, uint32_t key_bytes) {
  Request& made = requests_.emplace_back(request(NFT_MSG_NEWSET, NLM_F_CREATE));
  add_name(made, NFTA_SET_TABLE, table);
  add_name(made, NFTA_SET_NAME, set);
  add_number(made, NFTA_SET_FLAGS, 0);
  add_number(made, NFTA_SET_KEY_TYPE, key_type);
  add_number(made, NFTA_SET_KEY_LEN, key_bytes);
  add_number(made, NFTA_SET_ID, ++sets_);
  return *this;
}

Batch& Batch::add_rule(std::string_view table, std::string_view chain, const Rule& rule) {
  Request& made = requests_.emplace_back(request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND));
  add_name(made, NFTA_RULE_TABLE, table);
  add_name(made, NFTA_RULE_CHAIN, chain);
  made.nest(NFTA_RULE_EXPRESSIONS, [&] {
    for (const Rule::Named& expression : rule.expressions()) {
      made.nest(NFTA_LIST_ELEM, [&] {
        add_name(made, NFTA_EXPR_NAME, expression.name);
        made.nest(NFTA_EXPR_DATA, [&] { expression.data(made); });
      });
    }
  });
  return *this;
}

Batch& Batch::change_elements(uint16_t type, uint16_t flags, std::string_view table, std::string_view set,
                              std::span<const Element> elements) {
  Request& made = requests_.emplace_back(request(type, flags));
  add_name(made, NFTA_SET_ELEM_LIST_TABLE, table);
  add_name(made, NFTA_SET_ELEM_LIST_SET, set);
  made.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
    for (const Element& element : elements) {
      made.nest(NFTA_LIST_ELEM, [&] {
        made.nest(NFTA_SET_ELEM_KEY, [&] { made.add(NFTA_DATA_VALUE, element.key); });
        if (!element.comment.empty() && type == NFT_MSG_NEWSETELEM) {
          made.add(NFTA_SET_ELEM_USERDATA, user_data(element.comment));
        }
      });
    }
  });
  return *this;
}

Batch& Batch::add_elements(std::string_view table, std::string_view set, std::span<const Element> elements) {
  return change_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, set, elements);
}

Batch& Batch::delete_elements(std::string_view table, std::string_view set,
                              std::span<const Element> elements) {
  return change_elements(NFT_MSG_DELSETELEM, 0, table, set, elements);
}

Batch& Batch::since(uint32_t generation) {
  generation_ = generation;
  return *this;
}

void Batch::run(netlink::Connection& connection) const {
  connection.change_all(
      requests_, NFNL_SUBSYS_NFTABLES, [](size_t i) { return fmt::format("change {}", i + 1); }, generation_);
}

uint32_t generation(netlink::Connection& connection) {
  Request asked(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN);
  asked.fixed(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  uint32_t found = 0;
  connection.change(asked, [&](const netlink::Message& message) {
    found = ntohl(netlink::to_u32(message.attribute(sizeof(nfgenmsg), NFTA_GEN_ID)));
  });
  return found;
}

std::vector<std::string> tables(netlink::Connection& connection) {
  std::vector<std::string> names;
  connection.dump(request(NFT_MSG_GETTABLE), [&](const netlink::Message& message) {
    names.push_back(netlink::to_text(message.attribute(sizeof(nfgenmsg), NFTA_TABLE_NAME)));
  });
  return names;
}

std::vector<Element> elements(netlink::Connection& connection, std::string_view table, std::string_view set) {
  Request asked = request(NFT_MSG_GETSETELEM);
  add_name(asked, NFTA_SET_ELEM_LIST_TABLE, table);
  add_name(asked, NFTA_SET_ELEM_LIST_SET, set);
  std::vector<Element> found;
  connection.dump(asked, [&](const netlink::Message& message) {
    for (const netlink::Attribute& item :
         netlink::attributes(message.attribute(sizeof(nfgenmsg), NFTA_SET_ELEM_LIST_ELEMENTS))) {
      const auto key = netlink::find(netlink::find(item.value, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
      found.push_back(
          {{key.begin(), key.end()}, comment_of(netlink::find(item.value, NFTA_SET_ELEM_USERDATA))});
    }
  });
  return found;
}

}  // namespace godwit::nftables
