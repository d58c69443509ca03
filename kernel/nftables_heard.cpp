#include "kernel/nftables_heard.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <functional>
#include <string>

#include "kernel/netlink.h"

namespace godwit::nftables {

namespace {

using Bytes = std::vector<std::byte>;
using Value = std::span<const std::byte>;

constexpr uint32_t kDynsetWithExpressions = 2;  // NFT_DYNSET_F_EXPR

bool is_zero(Value value) {
  return std::ranges::all_of(value, [](std::byte byte) { return byte == std::byte{}; });
}

Bytes copy(Value value) {
  return {value.begin(), value.end()};
}

Bytes number(uint32_t value) {
  const uint32_t in_order = htonl(value);
  return copy(std::as_bytes(std::span(&in_order, 1)));
}

uint32_t to_number(Value value) {
  return ntohl(netlink::to_u32(value));
}

/// The same attributes with the values that `change` gives them.
Bytes rewritten(Value attributes, const std::function<Bytes(const netlink::Attribute&)>& change) {
  netlink::Request request(0);
  for (const netlink::Attribute& attribute : netlink::attributes(attributes)) {
    request.add(attribute.type, change(attribute));
  }
  return copy(request.payload());
}

/// That it is used up follows from how much of it has been used.
Bytes quota(Value data) {
  return rewritten(data, [](const netlink::Attribute& attribute) {
    return attribute.type == NFTA_QUOTA_FLAGS ? number(to_number(attribute.value) & NFT_QUOTA_F_INV)
                                              : copy(attribute.value);
  });
}

Bytes expression(Value value);

Bytes expressions(Value list) {
  return rewritten(list, [](const netlink::Attribute& element) { return expression(element.value); });
}

/// A time-out that isn't there is told as zero, and that there are several expressions not at all.
Bytes dynset(Value data) {
  const bool several = !netlink::find(data, NFTA_DYNSET_EXPRESSIONS).empty();
  netlink::Request request(0);
  for (const netlink::Attribute& attribute : netlink::attributes(data)) {
    if (attribute.type == NFTA_DYNSET_TIMEOUT && is_zero(attribute.value)) {
      continue;
    }
    if (attribute.type == NFTA_DYNSET_EXPR) {
      request.add(attribute.type, expression(attribute.value));
    } else if (attribute.type == NFTA_DYNSET_EXPRESSIONS) {
      request.add(attribute.type, expressions(attribute.value));
    } else if (attribute.type == NFTA_DYNSET_FLAGS && several) {
      request.add(attribute.type, number(to_number(attribute.value) | kDynsetWithExpressions));
    } else {
      request.add(attribute.type, attribute.value);
    }
  }
  return copy(request.payload());
}

/// Flags must be some, or not be there.
Bytes without_zero_flags(Value data, uint16_t flags) {
  netlink::Request request(0);
  for (const netlink::Attribute& attribute : netlink::attributes(data)) {
    if (attribute.type != flags || !is_zero(attribute.value)) {
      request.add(attribute.type, attribute.value);
    }
  }
  return copy(request.payload());
}

Bytes fingerprint(Value data) {
  return without_zero_flags(data, NFTA_OSF_FLAGS);
}

/// One that takes an option away says no more than which.
Bytes header_option(Value data) {
  const bool takes_away =
      netlink::find(data, NFTA_EXTHDR_SREG).empty() && netlink::find(data, NFTA_EXTHDR_DREG).empty();
  if (!takes_away) {
    return without_zero_flags(data, NFTA_EXTHDR_FLAGS);
  }
  netlink::Request request(0);
  for (const uint16_t type : {NFTA_EXTHDR_TYPE, NFTA_EXTHDR_OP}) {
    request.add(type, netlink::find(data, type));
  }
  return copy(request.payload());
}

Bytes with_data(Value value, Bytes (*change)(Value)) {
  return rewritten(value, [&](const netlink::Attribute& attribute) {
    return attribute.type == NFTA_EXPR_DATA ? change(attribute.value) : copy(attribute.value);
  });
}

/// A name and data.
Bytes expression(Value value) {
  const std::string name = netlink::to_text(netlink::find(value, NFTA_EXPR_NAME));
  return name == "quota"    ? with_data(value, quota)
         : name == "dynset" ? with_data(value, dynset)
         : name == "osf"    ? with_data(value, fingerprint)
         : name == "exthdr" ? with_data(value, header_option)
                            : copy(value);
}

Bytes element(Value value) {
  return rewritten(value, [](const netlink::Attribute& attribute) {
    return attribute.type == NFTA_SET_ELEM_EXPR          ? expression(attribute.value)
           : attribute.type == NFTA_SET_ELEM_EXPRESSIONS ? expressions(attribute.value)
                                                         : copy(attribute.value);
  });
}

/// One without any time left would have all of it again.
Bytes elements(Value list) {
  netlink::Request request(0);
  for (const netlink::Attribute& attribute : netlink::attributes(list)) {
    const Value left = netlink::find(attribute.value, NFTA_SET_ELEM_EXPIRATION);
    if (left.empty() || !is_zero(left)) {
      request.add(attribute.type, element(attribute.value));
    }
  }
  return copy(request.payload());
}

}  // namespace

std::vector<std::byte> as_heard(uint16_t type, uint16_t attribute, std::span<const std::byte> value,
                                uint32_t object) {
  if ((type == NFT_MSG_NEWRULE && attribute == NFTA_RULE_EXPRESSIONS) ||
      (type == NFT_MSG_NEWSET && attribute == NFTA_SET_EXPRESSIONS)) {
    return expressions(value);
  }
  if (type == NFT_MSG_NEWSET && attribute == NFTA_SET_EXPR) {
    return expression(value);
  }
  if (type == NFT_MSG_NEWSETELEM && attribute == NFTA_SET_ELEM_LIST_ELEMENTS) {
    return elements(value);
  }
  if (type == NFT_MSG_NEWOBJ && attribute == NFTA_OBJ_DATA && object == NFT_OBJECT_QUOTA) {
    return quota(value);
  }
  return copy(value);
}

}  // namespace godwit::nftables
