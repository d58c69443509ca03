#include <linux/if_addr.h>
#include <linux/lwtunnel.h>
#include <sys/socket.h>

#include "dump/net.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/rtnetlink.h"

namespace godwit {

namespace {

using rtnetlink::Table;

void check_address(const std::string& entry) {
  const uint32_t flags = rtnetlink::number_in(Table::Address, entry, IFA_FLAGS);
  if (rtnetlink::family_of(entry) == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0) {
    log::warning("{}: a temporary address, which will be an ordinary one after a restore",
                 rtnetlink::describe(Table::Address, entry));
  }
}

void check_route(const std::string& entry) {
  const int family = rtnetlink::family_of(entry);
  if (family != AF_INET && family != AF_INET6) {
    throw refusal("a route of address family {}", family);
  }
  if (rtnetlink::number_in(Table::Route, entry, RTA_NH_ID) != 0) {
    throw refusal("{} by a next hop object", rtnetlink::describe(Table::Route, entry));
  }
  if (rtnetlink::number_in(Table::Route, entry, RTA_ENCAP_TYPE) % 0x10000 == LWTUNNEL_ENCAP_BPF) {
    throw refusal("{} with a BPF program", rtnetlink::describe(Table::Route, entry));
  }
}

template <typename Check>
void collect(netlink::Connection& connection, Table table,
             google::protobuf::RepeatedPtrField<std::string>& kept, Check&& check) {
  with_context([&] { return fmt::format("{} table", rtnetlink::name_of(table)); },
               [&] {
                 for (std::string& entry : rtnetlink::list(connection, table)) {
                   check(entry);
                   kept.Add(std::move(entry));
                 }
               });
}

}  // namespace

void collect_net_tables(netlink::Connection& connection, image::NetNamespace& record) {
  const auto any = [](const std::string&) {};
  collect(connection, Table::Address, *record.mutable_addresses(), check_address);
  collect(connection, Table::Rule, *record.mutable_rules(), any);
  collect(connection, Table::Route, *record.mutable_routes(), check_route);
  collect(connection, Table::Neighbour, *record.mutable_neighbours(), any);
  collect(connection, Table::AddressLabel, *record.mutable_address_labels(), any);
  collect(connection, Table::Forwarding, *record.mutable_forwarding(), any);
}

}  // namespace godwit
