#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernel/error.h"
#include "kernel/next_hop.h"
#include "kernel/rtnetlink.h"
#include "restore/net.h"
#include "restore/net_dead_hops.h"

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

/// Adds what can be added, and returns the rest. A route leads through another that may stand behind it in
/// the list: whatever can't be added yet is tried again as long as that gets on. Those whose order matters
/// keep it.
std::vector<const std::string*> add_possible(netlink::Connection& connection, Table table,
                                             std::vector<const std::string*> missing) {
  for (size_t before = missing.size() + 1; missing.size() < before;) {
    before = missing.size();
    std::set<std::string> waiting;
    std::erase_if(missing, [&](const std::string* entry) {
      const std::string key = rtnetlink::order_key(table, *entry);
      if (!waiting.contains(key)) {
        try {
          rtnetlink::add(connection, table, *entry);
          return true;
        } catch (const Error&) {
          waiting.insert(key);
        }
      }
      return false;
    });
  }
  return missing;
}

/// A route by way of another that has gone since, which the kernel asks for only when it takes the route.
void add_by_lost_way(netlink::Connection& connection, const std::string& route) {
  std::vector<std::string> ways;
  for (const rtnetlink::NextHop& hop : rtnetlink::next_hops(route)) {
    if (!hop.gateway.empty() && !hop.onlink && hop.device != 0) {
      std::string way = rtnetlink::route_to_gateway(hop);
      netlink::Request request(RTM_NEWROUTE, NLM_F_CREATE);
      try {
        connection.change(request.raw(way));
        ways.push_back(std::move(way));
      } catch (const Error&) {
        // It is there, or it is none; then the kernel names what is wrong with the route.
      }
    }
  }
  std::exception_ptr failure;
  try {
    rtnetlink::add(connection, Table::Route, route);
  } catch (const Error&) {
    failure = std::current_exception();
  }
  for (const std::string& way : ways) {
    rtnetlink::remove(connection, Table::Route, way);
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}

void add(netlink::Connection& connection, Table table, const std::string& entry) {
  if (table == Table::Address) {
    add_address(connection, entry);
  } else if (table == Table::Route) {
    add_by_lost_way(connection, entry);
  } else {
    rtnetlink::add(connection, table, entry);
  }
}

/// What is there, and what isn't as it should be.
struct Difference {
  std::vector<std::string> superfluous;
  std::vector<const std::string*> missing;
};

/// `present` and `wanted` are canonical. Where the order matters and isn't right, all of that key is both
/// superfluous and missing.
Difference compare(Table table, std::vector<std::string> present, const std::vector<std::string>& wanted) {
  std::map<std::string_view, size_t> left;
  for (const std::string& entry : wanted) {
    ++left[entry];
  }
  Difference difference;
  std::map<std::string, std::vector<std::string>> now;  // of those that are wanted, by key
  for (std::string& entry : present) {
    const auto found = left.find(entry);
    if (found != left.end() && found->second > 0) {
      --found->second;
      now[rtnetlink::order_key(table, entry)].push_back(std::move(entry));
    } else {
      difference.superfluous.push_back(std::move(entry));
    }
  }
  // Whatever is added goes behind those that are there, so these must be the first ones.
  std::map<std::string, std::vector<const std::string*>> then;
  for (const std::string& entry : wanted) {
    then[rtnetlink::order_key(table, entry)].push_back(&entry);
  }
  std::set<std::string> again;
  for (auto& [key, entries] : now) {
    const bool first = std::ranges::equal(entries, std::span(then[key]).first(entries.size()), {}, {},
                                          [](const std::string* entry) { return *entry; });
    if (!first && !key.empty()) {
      again.insert(key);
      std::ranges::move(entries, std::back_inserter(difference.superfluous));
    }
  }
  for (const std::string& entry : wanted) {
    if (again.contains(rtnetlink::order_key(table, entry))) {
      difference.missing.push_back(&entry);
    } else if (size_t& count = left[entry]; count > 0) {
      --count;
      difference.missing.push_back(&entry);
    }
  }
  return difference;
}

void fill(netlink::Connection& connection, Table table, const Entries& wanted) {
  // What the image has may be told otherwise by another kernel; compared is what this one would say.
  std::vector<std::string> canonical;
  for (const std::string& entry : wanted) {
    canonical.push_back(rtnetlink::canonical(table, entry));
  }
  auto [superfluous, missing] = compare(table, rtnetlink::list(connection, table), canonical);
  // A route may have been made by way of one that has gone since.
  if (table == Table::Route) {
    missing = add_possible(connection, table, std::move(missing));
  }
  for (const std::string& entry : superfluous) {
    with_context([&] { return in_words(table, entry); },
                 [&] { rtnetlink::remove(connection, table, entry); });
  }
  if (table == Table::Route) {
    missing = add_possible(connection, table, std::move(missing));
  }
  for (const std::string* entry : missing) {
    with_context([&] { return in_words(table, *entry); }, [&] { add(connection, table, *entry); });
  }
}

}  // namespace

void fill_net_tables(netlink::Connection& connection, const image::NetNamespace& record) {
  fill(connection, Table::Address, record.addresses());
  if (DeadHops dead(connection, record); dead.any()) {
    dead.revive();
    fill(connection, Table::Route, record.routes());
    dead.let_die();
    fill(connection, Table::Address, record.addresses());
  }
  fill(connection, Table::AddressLabel, record.address_labels());
  fill(connection, Table::Forwarding, record.forwarding());
  fill(connection, Table::Neighbour, record.neighbours());
  fill(connection, Table::Route, record.routes());
  fill(connection, Table::Rule, record.rules());
}

}  // namespace godwit
