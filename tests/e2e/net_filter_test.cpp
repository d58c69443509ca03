// The packet filters of a network namespace of the tree's own.
#include <optional>
#include <string>
#include <vector>

#include "kernel/error.h"
#include "tests/e2e/net_namespace.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

std::string load(const std::string& rules) {
  return "nft -f - <<'END'\n" + rules + "\nEND\n";
}

/// Of everything that nft(8) has; on the loopback device and a pair.
constexpr const char* kRules = R"(
table inet t {
	comment "a table"
	counter c1 { packets 7 bytes 700 }
	quota q1 { over 25 mbytes used 3 mbytes }
	quota spent { over 1000 bytes used 1000 bytes }
	limit l1 { rate 400/minute }
	ct helper ftp-standard { type "ftp" protocol tcp; }
	ct timeout agg {
		protocol tcp; l3proto ip; policy = { established: 132, close: 13 }
	}
	ct expectation e1 {
		protocol tcp; dport 9876; timeout 2m; size 12; l3proto ip;
	}
	synproxy sp { mss 1460 wscale 7 timestamp sack-perm }
	set plain { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 comment "two" } }
	set ranges { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/24, 10.0.1.0/24,
		10.0.2.0-10.0.2.7, 0.0.0.0, 255.255.255.255, 192.168.0.0/16 } }
	set ports { type inet_service; flags interval; elements = { 0-10, 11-20, 8080, 60000-65535 } }
	set dyn { type ipv4_addr; size 128; flags dynamic,timeout; timeout 1h
		elements = { 10.9.9.9 timeout 50m expires 40m, 10.9.9.8 } }
	set cat { type ipv4_addr . inet_service . inet_proto; flags interval,timeout
		elements = { 10.0.0.0/8 . 80-90 . tcp, 10.0.0.1 . 99 . udp timeout 1d } }
	set cnt { type ipv4_addr; counter; elements = { 10.1.1.1 counter packets 5 bytes 500, 10.1.1.2 } }
	set mtr { type ipv4_addr; flags dynamic; elements = { 10.3.3.3 limit rate 10/second } }
	set two { type ipv4_addr; flags dynamic; counter; limit rate 1/second; elements = { 10.4.4.4 } }
	set everything { type ipv4_addr; flags interval; counter
		elements = { 10.7.0.0/16 counter packets 3 bytes 9, * counter packets 1 bytes 2 } }
	set quotas { type ipv4_addr; flags dynamic; quota over 5 bytes; }
	map m { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop, 10.0.0.2 : jump other } }
	map im { type inet_service : ipv4_addr; flags interval; elements = { 80-81 : 10.0.0.9, 443 : 10.0.0.10 } }
	map om { type ipv4_addr : counter; elements = { 10.0.0.1 : "c1" } }
	map limits { type ipv4_addr : limit; elements = { 10.0.0.1 : "l1" } }
	map dm { type ipv4_addr : mark; flags dynamic,timeout; timeout 1h
	}
	chain other { counter packets 3 bytes 33 accept comment "a comment"; }
	chain input { type filter hook input priority 0; policy drop
		iif lo accept
		ct state vmap { established : accept, related : accept, invalid : drop }
		tcp dport { 22, 80, 443 } counter packets 9 bytes 99 accept
		tcp dport { 1000-2000, 3000-4000 } accept
		ip saddr vmap @m
		ip saddr @ranges drop
		ip saddr . tcp dport . meta l4proto @cat accept
		ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2, 10.0.0.3 . 10.0.0.4-10.0.0.9 } accept
		counter name "c1"
		quota name "q1" drop
		limit rate over 10/second burst 5 packets drop
		tcp dport 21 ct helper set "ftp-standard"
		ct timeout set "agg"
		add @dyn { ip saddr timeout 30m counter }
		update @mtr { ip saddr limit rate 10/second } accept
		add @two { ip saddr counter limit rate 1/second } accept
		update @dm { ip saddr timeout 5m : 0x7 }
		tcp dport 80 meter m1 { ip saddr limit rate over 10/second burst 3 packets } drop
		counter name ip saddr map @om
		meta skuid 1000 accept
		log prefix "x: " group 5 snaplen 99
		log level warn
		ip saddr & 255.255.255.0 == 10.0.0.0 meta mark set 0x7 ct mark set mark
		quota over 10 mbytes used 7 mbytes drop
		quota over 1000 bytes used 1000 bytes drop
		quota until 1000 bytes accept
		numgen inc mod 3 vmap { 0 : accept, 1 : drop, 2 : continue }
		jhash ip saddr mod 4 seed 0xdeadbeef vmap { 0 : accept, 1 : drop }
		fib saddr . iif oif missing drop
		ct count over 20 reject with tcp reset
		ct original ip saddr 10.0.0.1 ct bytes > 5 ct label 5
		reject with icmpx type admin-prohibited
		socket transparent 1 accept
		osf name "Linux" accept
		rt ip nexthop 10.0.0.1 accept
		synproxy name sp
		@th,16,16 & 0xff00 == 0x0a00
		tcp option timestamp exists accept
	}
	chain forward { type filter hook forward priority filter + 1; policy accept
		tcp flags syn tcp option maxseg size set rt mtu
		reset tcp option sack-perm
		ip dscp set cs1 tcp dport set 99
	}
	chain raw { type filter hook prerouting priority raw
		tcp flags syn / syn,ack notrack
	}
	chain nat { type nat hook prerouting priority dstnat
		dnat ip to tcp dport map @im
		tcp dport 7 redirect to :8080
	}
	chain post { type nat hook postrouting priority srcnat
		masquerade random
		ip saddr 10.0.0.0/8 snat ip to 10.1.1.1-10.1.1.9 persistent
	}
	chain tp { type filter hook prerouting priority mangle
		meta l4proto tcp tproxy ip to 127.0.0.1:1234
	}
	chain rte { type route hook output priority 0
		meta mark set 5
	}
}
table netdev n {
	chain i { type filter hook ingress device "va" priority 0; policy accept
		ip saddr 10.8.8.8 drop
		fwd to "vb"
	}
	chain e { type filter hook egress devices = { "va", "vb" } priority 5
		dup to "vb"
	}
}
table bridge b {
	chain f { type filter hook forward priority 0
		ether type ip drop
	}
}
table arp a {
	chain i { type filter hook input priority 0
		arp operation request counter
	}
}
table ip dormant { flags dormant
	chain i { type filter hook input priority 0
		drop
	}
}
table ip6 s {
	set x { type ipv6_addr; flags interval; elements = { 2001:db8::/32, fe80::1 } }
	chain y { ip6 saddr @x drop; }
}
table ip bound {
	chain i { type filter hook input priority 5
		tcp dport 5000 jump {
			counter packets 5 bytes 7
			ip saddr 10.0.0.1 accept
		}
		tcp dport 5001 drop
	}
}
)";

/// Through the interface of iptables, with its matches and targets, and counts. KIND: nft or legacy.
constexpr const char* kIptables =
    "iptables-KIND -N MINE; iptables-KIND -A INPUT -i lo -j ACCEPT -c 5 500; "
    "iptables-KIND -A INPUT -p tcp -m tcp --dport 22 --tcp-flags SYN,ACK SYN -m comment --comment hi -j "
    "MINE; "
    "iptables-KIND -A INPUT -p udp -m multiport --dports 53,5353 -j ACCEPT; "
    "iptables-KIND -A INPUT ! -p tcp -m length --length 10:20 -j DROP; "
    "iptables-KIND -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; "
    "iptables-KIND -A MINE -m limit --limit 5/min --limit-burst 7 -j RETURN; "
    "iptables-KIND -A OUTPUT -m owner --uid-owner 7 -j DROP; "
    "iptables-KIND -A INPUT -p icmp -m icmp --icmp-type 8 -m hashlimit --hashlimit-above 5/sec "
    "--hashlimit-name "
    "hl --hashlimit-mode srcip -j DROP; "
    "iptables-KIND -A INPUT -m recent --name rc --set -j LOG --log-prefix 'recent '; "
    "iptables-KIND -A INPUT -p tcp -m connlimit --connlimit-above 3 -j REJECT --reject-with tcp-reset; "
    "iptables-KIND -A INPUT -m statistic --mode nth --every 3 --packet 0 -j NFLOG --nflog-group 5; "
    "iptables-KIND -A INPUT -m string --string foo --algo bm -j DROP; "
    "iptables-KIND -A INPUT -m bpf --bytecode '4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0' -j DROP; "
    "iptables-KIND -A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -m mac --mac-source 02:00:00:00:00:01 "
    "-m addrtype --dst-type LOCAL -j ACCEPT; "
    "iptables-KIND -A INPUT -m quota --quota 1000 -m u32 --u32 '6&0xFF=1' -m time --timestart 01:00 -j "
    "ACCEPT; "
    "iptables-KIND -P FORWARD DROP; "
    "iptables-KIND -t nat -A POSTROUTING -s 10.0.0.0/8 -o eth+ -j MASQUERADE; "
    "iptables-KIND -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080; "
    "iptables-KIND -t nat -A OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 82; "
    "iptables-KIND -t nat -A POSTROUTING -j SNAT --to-source 10.1.1.1-10.1.1.2; "
    "iptables-KIND -t mangle -A PREROUTING -j MARK --set-xmark 0x1/0xff; "
    "iptables-KIND -t mangle -A POSTROUTING -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu; "
    "iptables-KIND -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 5 --on-ip 127.0.0.1; "
    "iptables-KIND -t mangle -A PREROUTING -j CONNMARK --save-mark; "
    "iptables-KIND -t mangle -A PREROUTING -j DSCP --set-dscp 5; "
    "iptables-KIND -t raw -A PREROUTING -j CT --notrack; iptables-KIND -t raw -A PREROUTING -p tcp -j CT "
    "--helper "
    "ftp; "
    "ip6tables-KIND -A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT; "
    "ip6tables-KIND -A INPUT -p tcp -m multiport --ports 1,2 -j REJECT; "
    "ip6tables-KIND -A INPUT -m frag --fragfirst -m rt --rt-type 0 -j DROP; "
    "ip6tables-KIND -t nat -A POSTROUTING -j MASQUERADE; "
    "arptables-KIND -A INPUT -s 10.0.0.1 -j DROP; arptables-KIND -A OUTPUT -j mangle --mangle-ip-s "
    "10.0.0.2; ";

/// For bridges; the older form isn't in every kernel.
constexpr const char* kEbtables =
    "ebtables-nft -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 80 -j DROP; "
    "ebtables-nft -A FORWARD -p ARP --arp-op Request -j ACCEPT; "
    "ebtables-nft -A FORWARD -p ! IPv6 -s 02:00:00:00:00:01 -j mark --mark-set 5; "
    "ebtables-nft -t nat -A PREROUTING -j dnat --to-destination 02:00:00:00:00:09; "
    "ebtables-nft -A FORWARD -p IPv4 --limit 5/sec -j RETURN; "
    "ebtables-nft -A FORWARD -p IPv4 --among-src 02:00:00:00:00:01=10.0.0.1 -j DROP; "
    "ebtables-nft -A FORWARD -p 802_1Q --vlan-id 5 -j DROP";

std::string of_kind(std::string script, const std::string& kind) {
  for (size_t at = script.find("KIND"); at != std::string::npos; at = script.find("KIND", at)) {
    script.replace(at, 4, kind);
  }
  return script;
}

struct Filter {
  const char* name;
  std::string script;
  int rounds = 2;
};

std::ostream& operator<<(std::ostream& out, const Filter& filter) {
  return out << filter.name;
}

const Filter kFilters[] = {
    {"nftables",
     "ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up; " +
         load(kRules)},
    {"iptables_nft", of_kind(kIptables, "nft") + kEbtables},
    {"iptables_legacy", of_kind(kIptables, "legacy")},
    {"iptables_policies",
     "iptables-legacy -P INPUT DROP; ip6tables-legacy -t mangle -P FORWARD DROP; arptables-legacy -P OUTPUT "
     "DROP"},
    {"many_elements",
     "{ echo 'table ip t { set s { type ipv4_addr; flags interval; elements = {'; for a in $(seq 100); do "
     "for b in "
     "$(seq 100); do echo 10.$a.$b.0/25,; done; done; echo '}; }; set p { type inet_service; elements = {'; "
     "seq -s, 5000; echo '}; }; }'; } | nft -f -"},
    {"many_rules",
     "{ echo 'table ip t { chain c {'; for a in $(seq 3000); do echo \"tcp dport $a counter packets $a bytes "
     "7 "
     "accept\"; done; echo '}'; echo '}'; } | nft -f -"},
    {"flowtable", "ip link add va type veth peer name vb; " +
                      load("table ip t {\n flowtable f { hook ingress priority 0; "
                           "devices = { va, vb }; counter; }\n chain c { type filter "
                           "hook forward priority 0\n flow add @f\n }\n }")},
    {"empty_table", "nft add table ip t"},
};

/// Numbers that the kernel gives are left out, and how much time is left.
std::vector<std::string> filters(pid_t pid) {
  const Outcome seen = run_in_net(
      pid,
      "nft -nn -j list ruleset | sed -E 's/\"(handle|expires)\": [0-9]+/\"\\1\": 0/g; s/\\}, /}\\n/g'; "
      "nft -nn list ruleset | sed -E 's/expires [0-9a-z]+//g'; "
      "for f in iptables ip6tables; do for k in nft legacy; do $f-$k-save -c 2>/dev/null | sed '/^#/d'; "
      "done; done; "
      // To list one that isn't there would make it.
      "cat /proc/self/net/ip_tables_names /proc/self/net/ip6_tables_names /proc/self/net/arp_tables_names; "
      "grep -q . /proc/self/net/arp_tables_names && arptables-legacy -L -n -v; true");
  if (!seen.ok()) {
    throw error("cannot list the filters of {}: {}", pid, seen.words());
  }
  return lines_of(seen.output);
}

std::string first_difference(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  for (size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    const std::string one = i < before.size() ? before[i] : "(nothing)";
    const std::string other = i < after.size() ? after[i] : "(nothing)";
    if (one != other) {
      return "before: " + one + "\nafter: " + other;
    }
  }
  return "";
}

class NetFilter : public testing::TestWithParam<Filter> {};

TEST_P(NetFilter, IsAsBefore) {
  std::optional<NetWorkload> made;
  try {
    made.emplace(GetParam().script);
  } catch (const Error& e) {
    if (std::string_view(e.what()).find("Could not process rule") == std::string_view::npos) {
      throw;
    }
    GTEST_SKIP() << "this kernel can't have it: " << e.what();
  }
  const std::vector<std::string> before = filters(made->root());
  for (int round = 0; round < GetParam().rounds && !HasFailure(); ++round) {
    made->round_trip();
    EXPECT_EQ(first_difference(before, filters(made->root())), "") << "round " << round + 1;
  }
  EXPECT_EQ(made->verdict(), "pass");
}

/// What a connection to a port of the loopback device comes to, and how long it takes to learn.
std::string attempt(pid_t pid, int port) {
  const Outcome seen = run_in_net(
      pid, fmt::format("timeout 1 bash -c '</dev/tcp/127.0.0.1/{}' 2>&1 || echo ended with $?", port));
  return seen.output.find("refused") != std::string::npos          ? "refused"
         : seen.output.find("ended with 124") != std::string::npos ? "dropped"
                                                                   : seen.output;
}

TEST(NetFilterAtWork, DropsAndRejectsAndCountsAsBefore) {
  NetWorkload workload(
      "ip link set lo up; " +
      load("table inet t {\n counter c { packets 100 bytes 0 }\n"
           "set bad { type inet_service; flags timeout; elements = { 71 timeout 1h } }\n"
           "set seen { type inet_service; flags dynamic; size 9; }\n"
           "chain i { type filter hook input priority 0; policy accept\n"
           "tcp dport 70 counter name c drop\n tcp dport @bad drop\n"
           "tcp dport 72 add @seen { tcp dport }\n"
           "tcp dport 73 jump {\n drop\n }\n }\n }\n") +
      "iptables-nft -A INPUT -p tcp -m multiport --dports 74,75 -j DROP; "
      "iptables-legacy -N L; iptables-legacy -A INPUT -p tcp -m multiport --dports 76,77 -j L; "
      "iptables-legacy -A L -p tcp --dport 76 -c 1000 9 -j DROP");
  for (int round = 0; round < 2; ++round) {
    workload.round_trip();
    for (const int port : {70, 71, 73, 74, 76}) {
      EXPECT_EQ(attempt(workload.root(), port), "dropped") << port;
    }
    EXPECT_EQ(attempt(workload.root(), 72), "refused");
    EXPECT_EQ(attempt(workload.root(), 77), "refused");
  }
  const Outcome seen = run_in_net(workload.root(),
                                  "nft list counter inet t c; nft list set inet t seen; "
                                  "iptables-legacy-save -c");
  EXPECT_EQ(seen.output.find("packets 100 "), std::string::npos) << seen.output;
  EXPECT_NE(seen.output.find("packets 10"), std::string::npos) << seen.output;
  EXPECT_NE(seen.output.find("[100"), std::string::npos) << seen.output;
  EXPECT_EQ(seen.output.find("[1000:9]"), std::string::npos) << seen.output;
  EXPECT_NE(seen.output.find("elements = { 72 }"), std::string::npos) << seen.output;
  EXPECT_EQ(workload.verdict(), "pass");
}

std::string name_of(const testing::TestParamInfo<Filter>& of) {
  return of.param.name;
}

INSTANTIATE_TEST_SUITE_P(Loaded, NetFilter, testing::ValuesIn(kFilters), name_of);

}  // namespace

}  // namespace godwit::e2e
