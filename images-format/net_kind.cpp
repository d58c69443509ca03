#include "images-format/net_kind.h"

#include <linux/if_link.h>

#include <algorithm>
#include <array>

namespace godwit {

namespace {

using Use = NetDeviceSetting::Use;

constexpr std::array kBridge = {
    NetDeviceSetting{IFLA_BR_FORWARD_DELAY, 4},
    NetDeviceSetting{IFLA_BR_HELLO_TIME, 4},
    NetDeviceSetting{IFLA_BR_MAX_AGE, 4},
    NetDeviceSetting{IFLA_BR_AGEING_TIME, 4},
    NetDeviceSetting{IFLA_BR_STP_STATE, 4},
    NetDeviceSetting{IFLA_BR_PRIORITY, 2},
    NetDeviceSetting{IFLA_BR_VLAN_FILTERING, 1, Use::Zero, "VLAN filtering"},
    NetDeviceSetting{IFLA_BR_VLAN_PROTOCOL, 2},
    NetDeviceSetting{IFLA_BR_GROUP_FWD_MASK, 2},
    NetDeviceSetting{IFLA_BR_ROOT_ID, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_BRIDGE_ID, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_ROOT_PORT, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_ROOT_PATH_COST, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_TOPOLOGY_CHANGE, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_TOPOLOGY_CHANGE_DETECTED, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_HELLO_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_TCN_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_TOPOLOGY_CHANGE_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_GC_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_GROUP_ADDR, 6},
    NetDeviceSetting{IFLA_BR_MCAST_ROUTER, 1},
    NetDeviceSetting{IFLA_BR_MCAST_SNOOPING, 1},
    NetDeviceSetting{IFLA_BR_MCAST_QUERY_USE_IFADDR, 1},
    NetDeviceSetting{IFLA_BR_MCAST_QUERIER, 1},
    NetDeviceSetting{IFLA_BR_MCAST_HASH_ELASTICITY, 0, Use::Ignore},  // without effect
    NetDeviceSetting{IFLA_BR_MCAST_HASH_MAX, 4},
    NetDeviceSetting{IFLA_BR_MCAST_LAST_MEMBER_CNT, 4},
    NetDeviceSetting{IFLA_BR_MCAST_STARTUP_QUERY_CNT, 4},
    NetDeviceSetting{IFLA_BR_MCAST_LAST_MEMBER_INTVL, 8},
    NetDeviceSetting{IFLA_BR_MCAST_MEMBERSHIP_INTVL, 8},
    NetDeviceSetting{IFLA_BR_MCAST_QUERIER_INTVL, 8},
    NetDeviceSetting{IFLA_BR_MCAST_QUERY_INTVL, 8},
    NetDeviceSetting{IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, 8},
    NetDeviceSetting{IFLA_BR_MCAST_STARTUP_QUERY_INTVL, 8},
    NetDeviceSetting{IFLA_BR_NF_CALL_IPTABLES, 1},
    NetDeviceSetting{IFLA_BR_NF_CALL_IP6TABLES, 1},
    NetDeviceSetting{IFLA_BR_NF_CALL_ARPTABLES, 1},
    NetDeviceSetting{IFLA_BR_VLAN_DEFAULT_PVID, 2},
    NetDeviceSetting{IFLA_BR_PAD, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BR_VLAN_STATS_ENABLED, 1},
    NetDeviceSetting{IFLA_BR_MCAST_STATS_ENABLED, 1},
    NetDeviceSetting{IFLA_BR_MCAST_IGMP_VERSION, 1},
    NetDeviceSetting{IFLA_BR_MCAST_MLD_VERSION, 1},
    NetDeviceSetting{IFLA_BR_VLAN_STATS_PER_PORT, 1},
    NetDeviceSetting{IFLA_BR_MULTI_BOOLOPT, 8},
    NetDeviceSetting{IFLA_BR_MCAST_QUERIER_STATE, 0, Use::Ignore},
    NetDeviceSetting{48, 0, Use::Ignore},  // IFLA_BR_FDB_N_LEARNED
    NetDeviceSetting{49, 4},               // IFLA_BR_FDB_MAX_LEARNED
};

constexpr std::array kBridgePort = {
    NetDeviceSetting{IFLA_BRPORT_STATE, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_PRIORITY, 2},
    NetDeviceSetting{IFLA_BRPORT_COST, 4},
    NetDeviceSetting{IFLA_BRPORT_MODE, 1},
    NetDeviceSetting{IFLA_BRPORT_GUARD, 1},
    NetDeviceSetting{IFLA_BRPORT_PROTECT, 1},
    NetDeviceSetting{IFLA_BRPORT_FAST_LEAVE, 1},
    NetDeviceSetting{IFLA_BRPORT_LEARNING, 1},
    NetDeviceSetting{IFLA_BRPORT_UNICAST_FLOOD, 1},
    NetDeviceSetting{IFLA_BRPORT_PROXYARP, 1},
    NetDeviceSetting{IFLA_BRPORT_PROXYARP_WIFI, 1},
    NetDeviceSetting{IFLA_BRPORT_ROOT_ID, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_BRIDGE_ID, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_DESIGNATED_PORT, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_DESIGNATED_COST, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_ID, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_NO, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_CONFIG_PENDING, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_MESSAGE_AGE_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_FORWARD_DELAY_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_HOLD_TIMER, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_MULTICAST_ROUTER, 1},
    NetDeviceSetting{IFLA_BRPORT_PAD, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_MCAST_FLOOD, 1},
    NetDeviceSetting{IFLA_BRPORT_MCAST_TO_UCAST, 1},
    NetDeviceSetting{IFLA_BRPORT_VLAN_TUNNEL, 1},
    NetDeviceSetting{IFLA_BRPORT_BCAST_FLOOD, 1},
    NetDeviceSetting{IFLA_BRPORT_GROUP_FWD_MASK, 2},
    NetDeviceSetting{IFLA_BRPORT_NEIGH_SUPPRESS, 1},
    NetDeviceSetting{IFLA_BRPORT_ISOLATED, 1},
    NetDeviceSetting{IFLA_BRPORT_BACKUP_PORT, 4, Use::Zero, "a backup port"},
    NetDeviceSetting{IFLA_BRPORT_MRP_RING_OPEN, 1, Use::Zero, "a media redundancy ring"},
    NetDeviceSetting{IFLA_BRPORT_MRP_IN_OPEN, 1, Use::Zero, "a media redundancy ring"},
    NetDeviceSetting{IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT, 4},
    NetDeviceSetting{IFLA_BRPORT_MCAST_EHT_HOSTS_CNT, 0, Use::Ignore},
    NetDeviceSetting{IFLA_BRPORT_LOCKED, 1},
    NetDeviceSetting{40, 1},                                  // IFLA_BRPORT_MAB
    NetDeviceSetting{41, 0, Use::Ignore},                     // IFLA_BRPORT_MCAST_N_GROUPS
    NetDeviceSetting{42, 4},                                  // IFLA_BRPORT_MCAST_MAX_GROUPS
    NetDeviceSetting{43, 1},                                  // IFLA_BRPORT_NEIGH_VLAN_SUPPRESS
    NetDeviceSetting{44, 4, Use::Zero, "a backup next hop"},  // IFLA_BRPORT_BACKUP_NHID
};

constexpr std::array kVlan = {
    NetDeviceSetting{IFLA_VLAN_ID, 2},         NetDeviceSetting{IFLA_VLAN_FLAGS, 8},
    NetDeviceSetting{IFLA_VLAN_EGRESS_QOS, 0}, NetDeviceSetting{IFLA_VLAN_INGRESS_QOS, 0},
    NetDeviceSetting{IFLA_VLAN_PROTOCOL, 2},
};

constexpr std::array kMacvlan = {
    NetDeviceSetting{IFLA_MACVLAN_MODE, 4},
    NetDeviceSetting{IFLA_MACVLAN_FLAGS, 2},
    NetDeviceSetting{IFLA_MACVLAN_MACADDR_COUNT, 4, Use::Zero, "a list of sources"},
    NetDeviceSetting{IFLA_MACVLAN_MACADDR_DATA, 0, Use::Ignore},  // empty then
    NetDeviceSetting{IFLA_MACVLAN_BC_QUEUE_LEN, 4},
    NetDeviceSetting{IFLA_MACVLAN_BC_QUEUE_LEN_USED, 0, Use::Ignore},
    NetDeviceSetting{9, 4},  // IFLA_MACVLAN_BC_CUTOFF
};

constexpr std::array kVxlan = {
    NetDeviceSetting{IFLA_VXLAN_ID, 4}, NetDeviceSetting{IFLA_VXLAN_GROUP, 4},
    NetDeviceSetting{IFLA_VXLAN_LINK, 4}, NetDeviceSetting{IFLA_VXLAN_LOCAL, 4},
    NetDeviceSetting{IFLA_VXLAN_TTL, 1}, NetDeviceSetting{IFLA_VXLAN_TOS, 1},
    NetDeviceSetting{IFLA_VXLAN_LEARNING, 1}, NetDeviceSetting{IFLA_VXLAN_AGEING, 4},
    NetDeviceSetting{IFLA_VXLAN_LIMIT, 4}, NetDeviceSetting{IFLA_VXLAN_PORT_RANGE, 4},
    NetDeviceSetting{IFLA_VXLAN_PROXY, 1}, NetDeviceSetting{IFLA_VXLAN_RSC, 1},
    NetDeviceSetting{IFLA_VXLAN_L2MISS, 1}, NetDeviceSetting{IFLA_VXLAN_L3MISS, 1},
    NetDeviceSetting{IFLA_VXLAN_PORT, 2}, NetDeviceSetting{IFLA_VXLAN_GROUP6, 16},
    NetDeviceSetting{IFLA_VXLAN_LOCAL6, 16}, NetDeviceSetting{IFLA_VXLAN_UDP_CSUM, 1},
    NetDeviceSetting{IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1}, NetDeviceSetting{IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1},
    NetDeviceSetting{IFLA_VXLAN_REMCSUM_TX, 1}, NetDeviceSetting{IFLA_VXLAN_REMCSUM_RX, 1},
    NetDeviceSetting{IFLA_VXLAN_GBP, 0}, NetDeviceSetting{IFLA_VXLAN_REMCSUM_NOPARTIAL, 0},
    NetDeviceSetting{IFLA_VXLAN_COLLECT_METADATA, 1}, NetDeviceSetting{IFLA_VXLAN_LABEL, 4},
    NetDeviceSetting{IFLA_VXLAN_GPE, 0},
    NetDeviceSetting{IFLA_VXLAN_TTL_INHERIT, 0, Use::Flag},  // told as a number, taken as a flag
    NetDeviceSetting{IFLA_VXLAN_DF, 1},
    NetDeviceSetting{IFLA_VXLAN_VNIFILTER, 1, Use::Zero, "a filter of network identifiers"},
    NetDeviceSetting{31, 1},  // IFLA_VXLAN_LOCALBYPASS
    NetDeviceSetting{32, 4},  // IFLA_VXLAN_LABEL_POLICY
    // IFLA_VXLAN_RESERVED_BITS: follows from the others unless told, and isn't taken back with each of them.
    NetDeviceSetting{33, 0, Use::Ignore}, NetDeviceSetting{34, 1},  // IFLA_VXLAN_MC_ROUTE
};

constexpr std::array kTun = {
    NetDeviceSetting{IFLA_TUN_OWNER, 4},
    NetDeviceSetting{IFLA_TUN_GROUP, 4},
    NetDeviceSetting{IFLA_TUN_TYPE, 1},
    NetDeviceSetting{IFLA_TUN_PI, 1},
    NetDeviceSetting{IFLA_TUN_VNET_HDR, 1},
    NetDeviceSetting{IFLA_TUN_PERSIST, 1},
    NetDeviceSetting{IFLA_TUN_MULTI_QUEUE, 1},
    NetDeviceSetting{IFLA_TUN_NUM_QUEUES, 0, Use::Ignore},  // of whoever has it open
    NetDeviceSetting{IFLA_TUN_NUM_DISABLED_QUEUES, 0, Use::Ignore},
};

using Lower = NetDeviceKind::Lower;

constexpr std::array kKinds = {
    NetDeviceKind{"dummy", {}, false, Lower::None, "all of it"},
    NetDeviceKind{"ifb", {}, false, Lower::None, "all of it"},
    NetDeviceKind{"veth", {}, false, Lower::None, "pairs inside; one end outside by --external veth[NAME]"},
    NetDeviceKind{"bridge", kBridge, false, Lower::None, "settings, ports, permanent forwarding entries"},
    NetDeviceKind{"vlan", kVlan, true, Lower::Always, "on a device of the namespace"},
    NetDeviceKind{"macvlan", kMacvlan, true, Lower::Always, "on a device of the namespace"},
    NetDeviceKind{"vxlan", kVxlan, true, Lower::Perhaps, "settings, permanent forwarding entries"},
    NetDeviceKind{"tun", kTun, true, Lower::None, "tun and tap, persistent ones"},
};

}  // namespace

std::span<const NetDeviceKind> net_device_kinds() {
  return kKinds;
}

const NetDeviceKind* find_net_device_kind(std::string_view name) {
  const auto* found = std::ranges::find(kKinds, name, &NetDeviceKind::name);
  return found == kKinds.end() ? nullptr : found;
}

const NetDeviceSetting* find_setting(std::span<const NetDeviceSetting> settings, uint16_t type) {
  const auto found = std::ranges::find(settings, type, &NetDeviceSetting::type);
  return found == settings.end() ? nullptr : &*found;
}

std::span<const NetDeviceSetting> bridge_port_settings() {
  return kBridgePort;
}

}  // namespace godwit
