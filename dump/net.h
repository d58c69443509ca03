#pragma once

#include "dump/dump.h"
#include "images-format/net.pb.h"
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

/// net_refusals.cpp: what nobody looks after yet.
void refuse_other_net_state(netlink::Connection& connection);

}  // namespace godwit
