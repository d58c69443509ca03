#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernel/error.h"
#include "kernel/rtnetlink.h"
#include "restore/net.h"

namespace godwit {

namespace {

using rtnetlink::Table;
using Entries = google::protobuf::RepeatedPtrField<std::string>;

std::string in_words(Table table, const std::string& entry) {
  return rtnetlink::describe(table, entry);
}

/// An IPv6 address is tentative at first, until nobody else on the link answers to it; this one has been in
/// use. The flag that skips the question would stay, so it is taken away by a second message.
void add_address(netlink::Connection& connection, const std::string& entry) {
  constexpr auto table = Table::Address;
  const uint32_t flags = rtnetlink::number_in(table, entry, IFA_FLAGS);
  if (rtnetlink::family_of(entry) != AF_INET6 || (flags & IFA_F_NODAD) != 0) {
    rtnetlink::add(connection, table, entry);
    return;
  }
  netlink::Request unasked(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  ifaddrmsg fixed{};
  std::memcpy(&fixed, entry.data(), sizeof fixed);
  fixed.ifa_flags |= IFA_F_NODAD;
  unasked.fixed(fixed);
  const auto rest = std::as_bytes(std::span(entry)).subspan(NLMSG_ALIGN(sizeof fixed));
  for (const netlink::Attribute& attribute : netlink::attributes(rest)) {
    if (attribute.type == IFA_FLAGS) {
      unasked.add_u32(IFA_FLAGS, flags | IFA_F_NODAD);
    } else {
      unasked.add(attribute.type, attribute.value);
    }
  }
  connection.change(unasked);
  netlink::Request plain(RTM_NEWADDR, NLM_F_REPLACE);
  connection.change(plain.raw(entry));
}

void add(netlink::Connection& connection, Table table, const std::string& entry) {
  if (table == Table::Address) {
    add_address(connection, entry);
  } else {
    rtnetlink::add(connection, table, entry);
  }
}

/// Adds what can be added, and returns the rest. A route leads through another that may stand behind it in
/// the list: whatever can't be added yet is tried again as long as that gets on.
std::vector<const std::string*> add_possible(netlink::Connection& connection, Table table,
                                             std::vector<const std::string*> missing) {
  for (size_t before = missing.size() + 1; missing.size() < before;) {
    before = missing.size();
    std::erase_if(missing, [&](const std::string* entry) {
      try {
        rtnetlink::add(connection, table, *entry);
        return true;
      } catch (const Error&) {
        return false;
      }
    });
  }
  return missing;
}

void fill(netlink::Connection& connection, Table table, const Entries& wanted) {
  // What the image has may be told otherwise by another kernel; compared is what this one would say.
  std::vector<std::string> canonical;
  for (const std::string& entry : wanted) {
    canonical.push_back(rtnetlink::canonical(table, entry));
  }
  std::map<std::string_view, size_t> left;
  for (const std::string& entry : canonical) {
    ++left[entry];
  }
  std::vector<std::string> superfluous;
  for (std::string& entry : rtnetlink::list(connection, table)) {
    const auto found = left.find(entry);
    if (found != left.end() && found->second > 0) {
      --found->second;
    } else {
      superfluous.push_back(std::move(entry));
    }
  }
  std::vector<const std::string*> missing;
  for (const std::string& entry : canonical) {
    if (size_t& count = left[entry]; count > 0) {
      --count;
      missing.push_back(&entry);
    }
  }
  // A route may have been made by way of one that has gone since.
  if (table == Table::Route) {
    missing = add_possible(connection, table, std::move(missing));
  }
  for (const std::string& entry : superfluous) {
    with_context([&] { return in_words(table, entry); },
                 [&] { rtnetlink::remove(connection, table, entry); });
  }
  for (const std::string* entry : missing) {
    with_context([&] { return in_words(table, *entry); }, [&] { add(connection, table, *entry); });
  }
}

}  // namespace

void fill_net_tables(netlink::Connection& connection, const image::NetNamespace& record) {
  fill(connection, Table::Address, record.addresses());
  fill(connection, Table::AddressLabel, record.address_labels());
  fill(connection, Table::Forwarding, record.forwarding());
  fill(connection, Table::Neighbour, record.neighbours());
  fill(connection, Table::Route, record.routes());
  fill(connection, Table::Rule, record.rules());
}

}  // namespace godwit
