// Connections that netfilter tracks in a network namespace of the tree's own.
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

/// Without how long each has left.
std::vector<std::string> entries(pid_t pid) {
  const Outcome seen = run_in_net(pid,
                                  "for what in '' -n -g expect; do for family in ipv4 ipv6; do echo \"$what "
                                  "$family\"; conntrack -L $what -f "
                                  "$family -o extended 2>/dev/null | sed -E 's/^([a-z0-9]+ +[0-9]+ "
                                  "[a-z0-9]+ +[0-9]+) [0-9]+/\\1/; s/^[0-9]+ "
                                  "proto/proto/; s/ use=[0-9]+//' | sort; done; done");
  if (!seen.ok()) {
    throw error("cannot list the tracked connections of {}: {}", pid, seen.words());
  }
  return lines_of(seen.output);
}

Outcome python(pid_t pid, const std::string& script) {
  return run_in_net(pid, "python3 - <<'END'\nimport socket, sys\n" + script + "\nEND\n");
}

/// Entries of all protocols, that nobody's packets have made.
constexpr const char* kEntered =
    "i() { conntrack -I -s 10.0.0.1 -d 10.0.0.2 \"$@\"; }; "
    "i -p tcp --sport 4000 --dport 80 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED -m 7; "
    "i -p tcp --sport 4001 --dport 80 --state SYN_SENT -t 500; "
    "i -p tcp --sport 4002 --dport 80 --state TIME_WAIT -t 500 -u SEEN_REPLY,ASSURED,FIXED_TIMEOUT; "
    "i -p tcp --sport 4003 --dport 80 --state ESTABLISHED -t 5000 -u SEEN_REPLY,ASSURED --dst-nat "
    "10.0.0.9:8080; "
    "i -p tcp --sport 4004 --dport 80 --state ESTABLISHED -t 5000 -u SEEN_REPLY --src-nat 10.0.0.8:9999; "
    "i -p udp --sport 4005 --dport 80 -t 5000 --src-nat 10.0.0.8:9999 --dst-nat 10.0.0.7:53; "
    "i -p udp --sport 4005 --dport 80 -t 500 --zone 9; "
    "i -p udp --sport 4006 --dport 80 -t 500 --zone 9 --src-nat 10.0.0.8; "
    "i -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 500; "
    "i -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 78 -t 500 --src-nat 10.0.0.8; "
    "i -p sctp --sport 4000 --dport 80 --state ESTABLISHED --orig-vtag 5 --reply-vtag 6 -t 500; "
    "i -p gre --srckey 5 --dstkey 6 -t 500; i -p 89 -t 500; i -p udplite --sport 4000 --dport 80 -t 500; "
    "conntrack -I -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 4000 --dport 80 --state CLOSE_WAIT -t 50 -u "
    "SEEN_REPLY,ASSURED; "
    "conntrack -I -s 2001:db8::1 -d 2001:db8::2 -p udp --sport 4000 --dport 80 -t 50 --src-nat 2001:db8::9; "
    "conntrack -I -s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 7 -t "
    "50";

TEST(NetConntrack, EntriesAreAsBefore) {
  NetWorkload workload(kEntered);
  const std::vector<std::string> before = entries(workload.root());
  ASSERT_GT(before.size(), 25U) << joined(before);
  for (int round = 0; round < 2 && !HasFailure(); ++round) {
    workload.round_trip();
    EXPECT_EQ(joined(entries(workload.root())), joined(before)) << "round " << round + 1;
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Whether a datagram from port `from` to port 81, which nobody has, comes to port 82, and an answer back.
bool reaches(pid_t pid, int from) {
  const Outcome seen = python(pid, fmt::format(R"(
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.settimeout(1)
b.settimeout(1)
a.bind(('127.0.0.1', {}))
b.bind(('127.0.0.1', 82))
a.sendto(b'there', ('127.0.0.1', 81))
try:
  data, sender = b.recvfrom(99)
  b.sendto(b'back', sender)
  print('reached', a.recvfrom(99) == (b'back', ('127.0.0.1', 81)))
except OSError as e:
  print(e)
)",
                                               from));
  return seen.output.find("reached True") != std::string::npos;
}

/// What has begun goes on where it led, whatever the rules say by now.
TEST(NetConntrack, AddressesAreTranslatedAsTheyWere) {
  NetWorkload workload("ip link set lo up; " +
                       load("table ip t {\n chain n { type nat hook output priority -100\n"
                            "udp dport 81 redirect to :82\n }\n"
                            "counter labelled { }\n chain l { type filter hook input priority 0\n"
                            "ct label 5 counter name labelled\n ct label set 5\n ct mark set 9\n }\n }"));
  ASSERT_TRUE(reaches(workload.root(), 5000));
  const std::vector<std::string> before = entries(workload.root());
  ASSERT_NE(joined(before).find("mark=9"), std::string::npos) << joined(before);
  for (int round = 0; round < 2; ++round) {
    workload.round_trip();
    EXPECT_EQ(joined(entries(workload.root())), joined(before)) << "round " << round + 1;
  }
  ASSERT_TRUE(run_in_net(workload.root(), "nft flush chain ip t n; nft reset counters").ok());
  EXPECT_TRUE(reaches(workload.root(), 5000));
  // One that isn't labelled yet gets its label by its first packet, behind the counter.
  const Outcome labelled = run_in_net(workload.root(), "nft list counter ip t labelled");
  EXPECT_NE(labelled.output.find("packets 2 "), std::string::npos) << labelled.output;
  EXPECT_FALSE(reaches(workload.root(), 5001));
  EXPECT_EQ(workload.verdict(), "pass");
}

/// FTP says in one connection where the next one will be.
TEST(NetConntrack, ConnectionsAreExpectedAsTheyWere) {
  NetWorkload workload(
      "ip link set lo up; " +
      load("table ip t {\n ct helper f { type \"ftp\" protocol tcp; }\n counter related { }\n"
           "chain p { type filter hook output priority 0\n tcp dport 21 ct helper set \"f\"\n }\n"
           "chain i { type filter hook input priority 0\n"
           "ct state related tcp dport 2121 counter name related\n }\n }"));
  const Outcome talk = python(workload.root(), R"(
server = socket.socket()
server.bind(('127.0.0.1', 21))
server.listen()
client = socket.create_connection(('127.0.0.1', 21))
served = server.accept()[0]
served.send(b'220 ready\r\n')
client.recv(99)
client.send(b'PASV\r\n')
served.recv(99)
served.send(b'227 Entering Passive Mode (127,0,0,1,8,73).\r\n')
client.recv(99)
)");
  ASSERT_TRUE(talk.ok()) << talk.words();
  const std::vector<std::string> before = entries(workload.root());
  ASSERT_NE(joined(before).find("helper=ftp"), std::string::npos) << joined(before);
  ASSERT_NE(joined(before).find("dport=2121"), std::string::npos) << joined(before);
  for (int round = 0; round < 2; ++round) {
    workload.round_trip();
    EXPECT_EQ(joined(entries(workload.root())), joined(before)) << "round " << round + 1;
  }
  const Outcome transfer = python(workload.root(), R"(
server = socket.socket()
server.bind(('127.0.0.1', 2121))
server.listen()
client = socket.create_connection(('127.0.0.1', 2121))
)");
  ASSERT_TRUE(transfer.ok()) << transfer.words();
  const Outcome counted = run_in_net(workload.root(), "nft list counter ip t related");
  EXPECT_EQ(counted.output.find("packets 0 "), std::string::npos) << counted.output;
  // That connection has a master, now, and is kept as well.
  const std::vector<std::string> with_transfer = entries(workload.root());
  workload.round_trip();
  EXPECT_EQ(joined(entries(workload.root())), joined(with_transfer));
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST(NetConntrack, ManyEntriesAreKept) {
  NetWorkload workload(
      "for a in $(seq 8); do for b in $(seq 250); do echo \"-I -s 10.0.$a.$b -d 10.1.0.1 -p udp --sport $b "
      "--dport 53 "
      "-t 500 --src-nat 10.9.9.9:$((a * 1000 + b))\"; done; done | conntrack -R -");
  const std::vector<std::string> before = entries(workload.root());
  ASSERT_GT(before.size(), 2000U);
  workload.round_trip();
  EXPECT_EQ(joined(entries(workload.root())), joined(before));
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
