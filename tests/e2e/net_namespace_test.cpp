// What a network namespace of the tree's own holds.
#include "tests/e2e/net_namespace.h"

#include <sched.h>

#include <optional>

#include "kernel/error.h"

namespace godwit::e2e {

namespace {

struct Furniture {
  const char* name;
  const char* script;
  int rounds = 1;
};

std::ostream& operator<<(std::ostream& out, const Furniture& furniture) {
  return out << furniture.name;
}

constexpr Furniture kFurniture[] = {
    {"loopback_down", "true"},
    {"loopback_up", "ip link set lo up", 2},
    {"loopback_with_addresses",
     "ip link set lo up mtu 9000 txqueuelen 77; ip addr add 10.9.9.9/32 dev lo; "
     "ip addr add 2001:db8::9/128 dev lo; ip addr del 127.0.0.1/8 dev lo",
     2},
    {"device",
     "ip link set lo up; ip link add ifb7 index 77 type ifb numtxqueues 3 numrxqueues 2; "
     "ip link set ifb7 mtu 1400 txqueuelen 55 group 3 alias 'a device' multicast off arp off allmulticast "
     "on; "
     "ip link property add dev ifb7 altname a-much-longer-name-for-it; ip link set ifb7 up",
     2},
    {"device_down",
     "ip link add ifb8 index 8 type ifb; ip addr add 10.7.7.7/24 dev ifb8; ip addr add 2001:db8::7/64 dev "
     "ifb8"},
    {"addresses",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 10.1.2.3/24 brd + dev va; ip addr add 10.1.2.4/24 dev va label va:x; "
     "ip addr add 10.1.3.1 peer 10.1.3.2/32 dev va scope link; "
     "ip addr add 10.1.4.1/24 dev vb noprefixroute metric 77; "
     "ip addr add 192.168.7.1/30 dev vb valid_lft 50000 preferred_lft 40000; "
     "ip addr add 2001:db8::1/64 dev va nodad; ip addr add 2001:db8:1::1/64 dev va noprefixroute; "
     "ip addr add 2001:db8:2::1/64 dev vb valid_lft 50000 preferred_lft 40000; "
     "ip addr add 2001:db8:3::1/64 dev vb preferred_lft 0",
     2},
    {"routes",
     "ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 10.1.2.3/24 dev va; ip addr add 10.2.0.1/24 dev vb; ip addr add 2001:db8::1/64 dev va; "
     "ip route add default via 10.1.2.1 metric 100; ip route append default via 10.1.2.254 metric 100; "
     "ip route add 10.50.0.0/16 via 10.1.2.7; "
     "ip route add 10.60.0.0/16 nexthop via 10.1.2.8 weight 2 nexthop via 10.2.0.9 weight 5; "
     "ip route add 10.70.0.0/16 dev vb mtu 1300 advmss 1000 src 10.2.0.1 table 100; "
     "ip route add 10.71.0.0/16 via 10.99.0.1 dev vb onlink tos 8; "
     "ip route add blackhole 10.80.0.0/16; ip route add unreachable 10.81.0.0/16; "
     "ip route add prohibit 10.82.0.0/16 table 77; ip route add throw 10.83.0.0/16 table 1000; "
     "ip route del 10.2.0.0/24 dev vb; ip route add local 10.90.0.0/16 dev lo; "
     "ip -6 route add 2001:db8:1::/48 via 2001:db8::2 metric 30 pref high; "
     "ip -6 route add 2001:db8:2::/48 nexthop via 2001:db8::3 nexthop via 2001:db8::4; "
     "ip -6 route add blackhole 2001:db8:3::/48; ip -6 route add default via fe80::1 dev vb",
     2},
    {"ipv6_routes_with_one_prefix",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 2001:db8::1/64 dev va nodad; ip -6 route add 2001:db8:1::/48 dev vb metric 77; "
     "ip -6 route append 2001:db8:1::/48 dev va metric 77; "
     "ip -6 route append 2001:db8:2::/48 via 2001:db8::5 metric 77; "
     "ip -6 route append 2001:db8:2::/48 dev vb metric 77; "
     "ip -6 route append 2001:db8:2::/48 via 2001:db8::6 metric 77",
     2},
    {"routes_with_dead_hops",
     "ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip link add vc type veth peer name vd; ip link set vc up; ip link set vd up; "
     "ip addr add 10.1.0.1/24 dev va; ip addr add 10.2.0.1/24 dev vb; ip addr add 10.3.0.1/24 dev vc; "
     "ip addr add 2001:db8:1::1/64 dev va nodad; ip addr add 2001:db8:3::1/64 dev vc nodad; "
     "ip route add 10.60.0.0/16 src 10.3.0.1 nexthop via 10.1.0.8 weight 2 nexthop via 10.3.0.9 weight 5; "
     "ip route add 10.61.0.0/16 nexthop via 10.1.0.8 nexthop via 10.2.0.9; "
     "ip -6 route add 2001:db8:60::/48 nexthop via 2001:db8:1::8 nexthop via 2001:db8:3::9; "
     "ip route add 10.71.0.0/16 via 10.1.0.7; ip neigh add 10.1.0.8 lladdr 02:00:00:00:00:09 dev va nud "
     "permanent; ip addr del 10.2.0.1/24 dev vb; ip route add 10.72.0.0/16 dev vb; "
     "ip link set vc down",
     2},
    {"routes_by_lost_ways",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 10.1.0.1/24 dev va; ip addr add 2001:db8:1::1/64 dev va nodad; "
     "ip route add 10.2.0.0/24 dev vb; ip -6 route add 2001:db8:2::/64 dev vb; "
     "ip route add 10.60.0.0/16 via 10.2.0.7; ip -6 route add 2001:db8:60::/48 via 2001:db8:2::7; "
     "ip route add 10.61.0.0/16 nexthop via 10.1.0.7 nexthop via 10.2.0.8; "
     "ip -6 route add 2001:db8:61::/48 nexthop via 2001:db8:1::7 nexthop via 2001:db8:2::8; "
     "ip route add 10.62.0.0/16 via inet6 2001:db8:2::9 dev vb; "
     "ip route del 10.2.0.0/24; ip -6 route del 2001:db8:2::/64",
     2},
    {"rules",
     "ip rule add from 10.1.2.0/24 lookup 100 pref 500; ip rule add fwmark 0x10/0xf0 lookup 200 pref 600; "
     "ip rule add to 10.3.0.0/16 prohibit pref 700; ip rule add iif lo uidrange 0-99 lookup 300 pref 800; "
     "ip rule add not from 10.0.0.0/8 goto 900 pref 850; ip rule add pref 900 nop; "
     "ip rule add ipproto tcp dport 80-90 lookup main suppress_prefixlength 0 pref 950; "
     "ip rule del pref 32767; ip -6 rule add from 2001:db8::/32 lookup 100 pref 500",
     2},
    {"neighbours",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; ip addr add 10.1.2.3/24 "
     "dev "
     "va; "
     "ip addr add 2001:db8::1/64 dev va; "
     "ip neigh add 10.1.2.9 lladdr 02:00:00:00:00:09 dev va nud permanent; "
     "ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:0a dev va nud permanent router; "
     "ip neigh add proxy 10.1.2.77 dev vb; ip neigh add proxy 2001:db8::77 dev vb; "
     "ip addrlabel add prefix 2001:db8::/32 label 99; ip addrlabel del prefix 3ffe::/16 label 12",
     2},
    {"settings",
     "ip link add va type veth peer name vb; "
     "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 2 >/proc/sys/net/ipv4/conf/va/rp_filter; "
     "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 0 >/proc/sys/net/ipv4/conf/vb/forwarding; "
     "echo 3 >/proc/sys/net/ipv4/conf/default/log_martians; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; "
     "echo 0 >/proc/sys/net/ipv6/conf/va/forwarding; echo 1 >/proc/sys/net/ipv6/conf/vb/disable_ipv6; "
     "echo 77 >/proc/sys/net/core/somaxconn; echo '10000 20000' >/proc/sys/net/ipv4/ip_local_port_range; "
     "echo 8080,9000-9010 >/proc/sys/net/ipv4/ip_local_reserved_ports; "
     "echo 0 >/proc/sys/net/ipv4/tcp_sack; echo 12345 >/proc/sys/net/ipv4/neigh/va/base_reachable_time_ms; "
     "echo 80 >/proc/sys/net/ipv4/ip_unprivileged_port_start; echo 5 >/proc/sys/net/unix/max_dgram_qlen; "
     "ip link set va up; ip link set vb up",
     2},
    {"link_local_addresses",
     "ip link add va type veth peer name vb; ip link set va addrgenmode none; ip link set vb addrgenmode "
     "none; "
     "ip link set va up; ip link set vb up; ip addr add fe80::7/64 dev va"},
    {"tokens",
     "for n in 1 2 3; do ip link add va$n type veth peer name vb$n; ip token set ::7:$n dev va$n; ip link "
     "set "
     "va$n up; ip link set vb$n up; done; echo 1 >/proc/sys/net/ipv6/conf/va1/forwarding; "
     "echo 0 >/proc/sys/net/ipv6/conf/va2/accept_ra; echo 0 "
     ">/proc/sys/net/ipv6/conf/va3/router_solicitations; "
     "ip link add va4 type veth peer name vb4; ip token set ::7:4 dev va4; "
     "echo 1 >/proc/sys/net/ipv6/conf/default/forwarding; echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra",
     2},
    {"pairs",
     "ip link add va index 30 address 02:00:00:00:00:01 mtu 1400 type veth peer name vb index 20 address "
     "02:00:00:00:00:02 mtu 1300; ip link add vc type veth peer name vd; ip link set va up; ip link set vd "
     "up; "
     "ip link set vb up",
     2},
    {"bridge",
     "ip link add br7 index 70 type bridge; ip link add va type veth peer name vb; "
     "ip link add vc index 60 mtu 1400 type veth peer name vd; ip link set va master br7; ip link set vc "
     "master "
     "br7; ip link set br7 type bridge ageing_time 20000 forward_delay 900 hello_time 300 priority 4096 "
     "mcast_snooping 0 mcast_query_interval 20000 group_fwd_mask 8 nf_call_iptables 1; "
     "bridge link set dev va hairpin on learning off cost 77 priority 9 isolated on; "
     "bridge link set dev vc mcast_flood off guard on fastleave on; "
     "for d in va vb vc vd br7; do ip link set $d up; done; ip addr add 10.7.0.1/24 dev br7; "
     "ip addr add 10.7.0.2/24 dev vb; "
     "bridge fdb add 02:00:00:00:00:77 dev va master static; bridge fdb add 02:00:00:00:00:78 dev vc master",
     2},
    {"bridge_with_spanning_tree",
     "ip link add br8 type bridge stp_state 1 forward_delay 200; ip link add va type veth peer name vb; "
     "ip link set va master br8; ip link set va up; ip link set vb up; ip link set br8 address "
     "02:00:00:00:00:08 mtu 1300; ip link set br8 up"},
    {"vlan",
     "ip link add va type veth peer name vb; ip link add link va name va.5 type vlan id 5 reorder_hdr off "
     "ingress-qos-map 1:2 egress-qos-map 3:4; ip link set va up; ip link set vb up; ip link set va.5 up"},
    {"macvlan",
     "ip link add va type veth peer name vb; ip link add link va name mb index 44 type macvlan mode bridge; "
     "ip link add link va name mp type macvlan mode private bcqueuelen 77; "
     "ip link set va up; ip link set vb up; ip link set mb up; ip addr add 10.5.0.1/24 dev mb",
     2},
    {"vxlan",
     "ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 10.5.0.1/24 dev va; "
     "ip link add vx7 index 40 type vxlan id 7 remote 10.5.0.2 local 10.5.0.1 dev va dstport 4789 ttl 9 "
     "nolearning ageing 77 srcport 4000 5000; "
     "ip link add vx8 type vxlan id 8 dstport 4790 ttl inherit gbp; "
     "ip link add vx9 type vxlan dstport 4791 external; "
     "ip link set vx7 up; ip addr add 10.6.0.1/24 dev vx7; "
     "bridge fdb add 02:00:00:00:00:55 dev vx7 dst 10.5.0.9 vni 99 self permanent; "
     "bridge fdb append 00:00:00:00:00:00 dev vx8 dst 10.5.0.8 self permanent",
     2},
    {"persistent_tap",
     "ip tuntap add tap7 mode tap user 1000 group 1001 vnet_hdr multi_queue; ip tuntap add tun7 mode tun pi; "
     "ip link set tap7 up address 02:00:00:00:00:07; ip addr add 10.8.0.1/24 dev tap7; "
     "ip addr add 10.9.0.1 peer 10.9.0.2 dev tun7; ip link set tun7 up",
     2},
    {"bridge_without_ports",
     "ip link add br9 address 02:00:00:00:00:09 type bridge; ip addr add 10.9.0.1/24 dev br9; ip link set "
     "br9 up"},
};

class NetNamespace : public testing::TestWithParam<Furniture> {};

TEST_P(NetNamespace, IsAsBefore) {
  std::optional<NetWorkload> made;
  try {
    made.emplace(GetParam().script);
  } catch (const Error& e) {
    if (std::string_view(e.what()).find("Unknown device type") == std::string_view::npos) {
      throw;
    }
    GTEST_SKIP() << "this machine can't make it: " << e.what();
  }
  NetWorkload& workload = *made;
  for (int round = 0; round < GetParam().rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round + 1));
    workload.round_trip();
    if (HasFailure()) {
      return;
    }
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

struct Unkept {
  const char* name;
  const char* script;
  const char* says;
};

std::ostream& operator<<(std::ostream& out, const Unkept& unkept) {
  return out << unkept.name;
}

constexpr Unkept kUnkept[] = {
    {"sources",
     "ip link add va type veth peer name vb; ip link add link va name gwm type macvlan mode source; "
     "ip link set gwm type macvlan macaddr add 02:00:00:00:00:09",
     "network device gwm with a list of sources"},
    {"device_on_another_namespace",
     "ip link add vb index 90 type veth peer name gw-e2e-lower; ip link add link gw-e2e-lower name gwm index "
     "50 type macvlan; "
     "ip link set gw-e2e-lower netns 1; ip -o link show gwm",
     "network device gwm (macvlan) that stands on another network namespace"},
    {"queue_discipline", "tc qdisc add dev lo root handle 5: pfifo", "queueing discipline pfifo"},
    {"next_hop_object", "ip link set lo up; ip nexthop add id 4 blackhole", "a next hop object"},
    {"ipsec_state",
     "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 7 mode transport enc 'ecb(cipher_null)' ''",
     "an IPsec state"},
    {"ipsec_policy", "ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir out", "an IPsec policy"},
    {"legacy_rule_by_cgroup", "iptables-legacy -A INPUT -m cgroup --path / -j DROP",
     "the table filter of iptables-legacy by cgroup"},
    {"table_with_an_owner",
     "{ echo 'add table ip o { flags owner; }'; sleep 100; } | nft -i >/dev/null 2>&1 & "
     "until nft list tables | grep -q o; do sleep 0.01; done",
     "nftables table ip o, which goes with the program that owns it"},
    {"rule_by_cgroup", "iptables-nft -A INPUT -m cgroup --path / -j DROP",
     "nftables rule in chain INPUT of table ip filter (cgroup counter immediate) by cgroup"},
    {"accounting_object",
     "python3 -c \"import socket, struct; s = socket.socket(16, 3, 12); s.send(struct.pack('=IHHIIBBHHH4s', "
     "28, "
     "0x700, 0x605, 0, 0, 0, 0, 0, 6, 1, b'x')); e = struct.unpack_from('=i', s.recv(99), 16)[0]; exit(e and "
     "str(e))\"",
     "an object of nfacct(8)"},
    {"dead_hop_without_ipv6",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip -6 route add 2001:db8:1::/48 nexthop via fe80::1 dev va nexthop via fe80::2 dev vb; "
     "echo 1 >/proc/sys/net/ipv6/conf/vb/disable_ipv6",
     "by network device vb, on which IPv6 is off"},
    {"gateway_of_its_own",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 10.1.0.1/24 dev va; ip route add 10.2.0.0/16 via 10.1.0.7; ip addr add 10.1.0.7/32 dev vb",
     "route to 10.2.0.0/16 (table 254, protocol 3) by a gateway that is the tree itself"},
    {"ipv6_gateway_of_its_own",
     "ip link add va type veth peer name vb; ip link set va up; ip link set vb up; "
     "ip addr add 2001:db8::1/64 dev va nodad; ip -6 route add 2001:db8:2::/48 via 2001:db8::7; "
     "ip addr add 2001:db8::7/128 dev va nodad",
     "route to 2001:db8:2::/48 (table 254, protocol 3) by a gateway that is the tree itself"},
    {"multicast_group",
     "ip link add br7 type bridge; ip link add va type veth peer name vb; ip link set va master br7; "
     "ip link set va up; ip link set br7 up; bridge mdb add dev br7 port va grp 239.1.1.1 permanent",
     "a permanent multicast group"},
    {"vlan_filtering", "ip link add br7 type bridge vlan_filtering 1",
     "network device br7 with VLAN filtering"},
    {"renamed_loopback", "ip link set lo name loop", "the loopback device under another name, loop"},
    {"peer_elsewhere", "ip link add va type veth peer name gw-e2e-other netns 1", "network device va (veth)"},
};

class RefusedNetNamespace : public testing::TestWithParam<Unkept> {};

/// A bridge that has been told no address has that of its ports, also of those to come.
TEST(NetNamespaceOfBridges, ABridgeFollowsItsPortsAsBefore) {
  NetWorkload workload(
      "ip link add br7 type bridge; ip link add va address 02:00:00:00:00:05 type veth peer name vb; "
      "ip link set va master br7; ip link add br8 address 02:00:00:00:00:08 type bridge; "
      "ip link set vb master br8");
  workload.round_trip();
  const Outcome seen =
      run_in_net(workload.root(),
                 "for n in 7 8; do ip link add vc$n address 02:00:00:00:00:01 type veth peer name vd$n; "
                 "ip link set vc$n master br$n; ip -br link show br$n; done");
  EXPECT_TRUE(seen.ok()) << seen.words();
  EXPECT_NE(seen.output.find("02:00:00:00:00:01"), std::string::npos) << seen.output;
  EXPECT_NE(seen.output.find("02:00:00:00:00:08"), std::string::npos) << seen.output;
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Of routes that differ only in where they lead, and of rules of one preference, the first one counts.
TEST(NetNamespaceOrder, RoutesAndRulesStandInTheirOrder) {
  NetWorkload workload(
      "ip link set lo up; ip link add va type veth peer name vb; ip link set vb up; ip link set va up; "
      "ip addr add 10.1.0.1/24 dev va; ip addr add 10.1.0.2/24 dev vb; ip route flush table main; "
      "for d in va vb lo; do ip route append 10.1.0.0/24 dev $d metric 5; done; ip route flush 10.1.0.0/24 "
      "dev "
      "va; ip route append 10.1.0.0/24 dev va metric 5; "
      "ip -6 route flush table main; ip -6 route add fe80::/64 dev va proto kernel metric 256; "
      "ip -6 route append fe80::/64 dev vb proto kernel metric 256; "
      "ip rule add pref 7 from 10.0.0.1 lookup 100; ip rule add pref 7 from 10.0.0.2 lookup 50; "
      "ip rule del pref 0; ip rule add pref 0 fwmark 7 lookup 70; ip rule add pref 0 lookup local");
  const auto order = [&] { return run_in_net(workload.root(), "ip route; ip -6 route; ip rule").output; };
  const std::string before = order();
  workload.round_trip();
  EXPECT_EQ(order(), before);
  EXPECT_EQ(workload.verdict(), "pass");
}

/// By name, and the tree runs on.
TEST_P(RefusedNetNamespace, IsNamed) {
  const Reaper reaper;
  LaunchOptions options;
  options.namespaces = CLONE_NEWNET;
  Workload workload("heartbeat", 0, {}, options);
  const Outcome furnished = run_in_net(workload.root(), GetParam().script);
  if (!furnished.ok()) {
    GTEST_SKIP() << "this machine can't make it: " << furnished.words();
  }
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload.root(), images / "1");
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find(GetParam().says), std::string::npos) << dumped.words();
  EXPECT_NE(dumped.output.find("its net namespace"), std::string::npos) << dumped.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

template <typename Parameter>
std::string name_of(const testing::TestParamInfo<Parameter>& of) {
  return of.param.name;
}

INSTANTIATE_TEST_SUITE_P(Furnished, NetNamespace, testing::ValuesIn(kFurniture), name_of<Furniture>);
INSTANTIATE_TEST_SUITE_P(OneByOne, RefusedNetNamespace, testing::ValuesIn(kUnkept), name_of<Unkept>);

}  // namespace

}  // namespace godwit::e2e
