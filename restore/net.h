#pragma once

#include "images-format/net.pb.h"
#include "kernel/net_device.h"
#include "kernel/netlink.h"

/// A network namespace is furnished from inside, by a process that is in nothing but new ones.
namespace godwit {

/// Everything, in the order that it needs. Throws Error.
void furnish_net_namespace(const image::NetNamespace& record);

/// The parts, one source file each. All throw Error.

/// net_device.cpp: devices exist, down, under their numbers, each with its master and its settings but
/// without link-local addresses of the kernel's making.
void make_net_devices(netlink::Connection& connection, const image::NetNamespace& record);
/// net_tun.cpp: one that nobody has open. It is made by its own means, not by netlink.
void make_tun_device(const image::NetDevice& device);
/// Brings up what was up.
void bring_net_devices_up(netlink::Connection& connection, const image::NetNamespace& record);
/// From here on the kernel makes link-local addresses as it did.
void conclude_net_devices(netlink::Connection& connection, const image::NetNamespace& record);

/// net_table.cpp: addresses, routes and the like become those of the image; what the kernel has made by
/// itself and isn't there goes.
void fill_net_tables(netlink::Connection& connection, const image::NetNamespace& record);

/// net_nftables.cpp: the whole ruleset at once.
void load_nftables(const image::NetNamespace& record);

/// net_xtables.cpp: tables of iptables-legacy and its like, one by one.
void load_legacy_filters(const image::NetNamespace& record);

/// net_conntrack.cpp: connections that are tracked; when the rules are there that ask for that.
void load_tracked_connections(const image::NetNamespace& record);

/// net_settings.cpp: those of the namespace, before there are devices; and those of the devices. A setting
/// that this kernel doesn't have or take is named in a warning.
void apply_common_net_settings(const image::NetNamespace& record);
void apply_net_device_settings(const image::NetNamespace& record);

}  // namespace godwit
