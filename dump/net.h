#pragma once

#include <string>

#include "dump/dump.h"
#include "images-format/net.pb.h"
#include "kernel/filter_extension.h"
#include "kernel/net_device.h"
#include "kernel/netlink.h"

/// The parts of a network namespace, one source file each. The calling thread is in the namespace. All throw
/// Error, which names what can't be kept.
namespace godwit {

/// net_device.cpp
void collect_net_devices(netlink::Connection& connection, image::NetNamespace& record,
                         const DumpOptions& options);

/// net_table.cpp: addresses, routes and the like.
void collect_net_tables(netlink::Connection& connection, image::NetNamespace& record);

/// net_nftables.cpp: the ruleset, also what iptables-nft made.
void collect_nftables(image::NetNamespace& record);

/// net_xtables.cpp: tables of iptables-legacy and its like.
void collect_legacy_filters(image::NetNamespace& record);

/// net_conntrack.cpp: connections that are tracked, also for network address translation.
void collect_tracked_connections(image::NetNamespace& record);

/// net_filter_extension.cpp: refuses a rule (`rule`: in words) with a match or target that can't be made
/// again.
void check_filter_extension(const std::string& rule, const FilterExtension& extension);

/// net_refusals.cpp: what nobody looks after yet.
void refuse_other_net_state(netlink::Connection& connection);

}  // namespace godwit
