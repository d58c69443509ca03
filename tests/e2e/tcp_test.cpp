// TCP connections: kept by dump --tcp-established, silent while nobody is there, and taken up again.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <fstream>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/nftables_table.h"
#include "kernel/tcp_lock.h"
#include "tests/e2e/net_namespace.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/tcp_client.h"

namespace godwit::e2e {
namespace {

const std::vector<std::string> kKeep{"--tcp-established"};

/// Segments with RST that this network namespace has sent.
long resets_sent() {
  std::ifstream file("/proc/thread-self/net/snmp");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Tcp:")) {
      continue;
    }
    std::istringstream words(line);
    std::vector<std::string> found{std::istream_iterator<std::string>(words), {}};
    if (names.empty()) {
      names = std::move(found);
      continue;
    }
    for (size_t i = 0; i < names.size() && i < found.size(); ++i) {
      if (names[i] == "OutRsts") {
        return std::stol(found[i]);
      }
    }
  }
  throw error("/proc/net/snmp doesn't count segments with RST");
}

/// What locks of ours are left in this network namespace.
std::string locks() {
  std::string found;
  netlink::Connection connection = nftables::connect();
  for (const std::string& table : nftables::tables(connection)) {
    found += table.starts_with("godwit") ? table + " " : "";
  }
  return found;
}

/// A connection is dumped, away for `seconds`, and restored.
void away_and_back(pid_t root, double seconds = 0) {
  const TemporaryDirectory images;
  const Outcome dumped = dump(root, images / "checkpoint", kKeep);
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  EXPECT_EQ(locks(), "godwit ");
  usleep(static_cast<useconds_t>(seconds * 1e6));
  const Restored restored = restore(images / "checkpoint", kKeep);
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  ASSERT_EQ(restored.root, root);
  EXPECT_EQ(locks(), "");
}

/// What a restore that failed has left would concern the next test.
struct NoLocks {
  ~NoLocks() {
    KeptTcpLocks kept;
    std::vector<TcpTuple> all;
    for (const KeptTcpLocks::Entry& entry : kept.list()) {
      all.push_back(entry.connection);
    }
    kept.remove(all);
  }
};

class Tcp : public testing::TestWithParam<RoundTripCase> {
 protected:
  NoLocks locks_;
  Reaper reaper_;
};

TEST_P(Tcp, GoesOn) {
  Workload workload(GetParam().workload, GetParam().uid);
  const long resets = resets_sent();
  for (int round = 0; round < GetParam().rounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(away_and_back(workload.root())) << "round " << round + 1;
  }
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_EQ(resets_sent(), resets);
}

std::vector<RoundTripCase> cases() {
  std::vector<RoundTripCase> all;
  for (const char* workload : {"tcp_established", "tcp_closing"}) {
    for (const RoundTripCase& way : every_way(workload)) {
      all.push_back(way);
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Workloads, Tcp, testing::ValuesIn(cases()), case_name);

class TcpOutside : public testing::TestWithParam<std::string> {
 protected:
  NoLocks locks_;
  Reaper reaper_;
};

TEST_P(TcpOutside, HearsSilenceAndLosesNothing) {
  const long resets = resets_sent();
  Workload workload("tcp_echo", kOtherUser, {GetParam()});
  TcpClient client(GetParam(), static_cast<uint16_t>(std::stoi(read_file(workload.directory() / "port"))));
  ASSERT_TRUE(wait_until([&] { return access((workload.directory() / "accepted").c_str(), F_OK) == 0; }));
  for (const double seconds : {0.0, 0.5}) {
    EXPECT_TRUE(client.advances());
    ASSERT_NO_FATAL_FAILURE(away_and_back(workload.root(), seconds));
  }
  EXPECT_TRUE(client.advances());
  EXPECT_EQ(client.finish(), "pass");
  EXPECT_EQ(workload.verdict(), "pass");
  EXPECT_EQ(resets_sent(), resets);
}

INSTANTIATE_TEST_SUITE_P(Addresses, TcpOutside, testing::Values("127.0.0.1", "::1", "::ffff:127.0.0.1"),
                         [](const auto& one) {
                           return one.param == "127.0.0.1" ? "v4" : one.param == "::1" ? "v6" : "mapped";
                         });

/// Listens, and agrees to no further connection until `accept_all`, which answers what comes by the same.
class FullListener {
 public:
  FullListener() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), any, size) != 0 || ::listen(listener_.get(), 0) != 0 ||
        ::getsockname(listener_.get(), any, &size) != 0) {
      throw errno_error("cannot listen");
    }
    port = ntohs(address.sin_port);
    first_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(first_.get(), any, size) != 0) {
      throw errno_error("cannot connect");
    }
  }

  /// Returns how many connections said something within `seconds`.
  [[nodiscard]] int answer(int wanted, int seconds) {
    ::close(::accept(listener_.get(), nullptr, nullptr));
    int answered = 0;
    while (answered < wanted) {
      pollfd ready{listener_.get(), POLLIN, 0};
      if (::poll(&ready, 1, seconds * 1000) != 1) {
        break;
      }
      const Fd accepted(::accept(listener_.get(), nullptr, nullptr));
      std::array<char, 100> data;
      const ssize_t got = ::recv(accepted.get(), data.data(), data.size(), 0);
      answered += got > 0 && ::send(accepted.get(), data.data(), static_cast<size_t>(got), 0) == got ? 1 : 0;
    }
    return answered;
  }

  uint16_t port = 0;

 private:
  Fd listener_;
  Fd first_;
};

TEST(TcpOpening, GoesOn) {
  for (const int rounds : {1, 2}) {
    const NoLocks locks;
    const Reaper reaper;
    FullListener listener;
    Workload workload("tcp_opening", kOtherUser, {std::to_string(listener.port)});
    for (int round = 0; round < rounds; ++round) {
      ASSERT_NO_FATAL_FAILURE(away_and_back(workload.root()));
    }
    std::ofstream(workload.directory() / "go").close();
    ASSERT_TRUE(wait_until([&] { return access((workload.directory() / "went").c_str(), F_OK) == 0; }));
    EXPECT_EQ(listener.answer(2, 20), 2);
    EXPECT_EQ(workload.verdict(), "pass");
  }
}

TEST(TcpRefusal, NamesTheOption) {
  const Reaper reaper;
  Workload workload("tcp_established", 0);
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload.root(), images / "checkpoint");
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("is a TCP connection; --tcp-established"), std::string::npos) << dumped.output;
  EXPECT_EQ(locks(), "");
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST(TcpLeft, RunsOn) {
  const Reaper reaper;
  Workload workload("tcp_established", 0);
  const TemporaryDirectory images;
  const Outcome dumped = godwit({"dump", "-t", std::to_string(workload.root()), "-D", images / "checkpoint",
                                 "--leave-running", "--tcp-established"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  EXPECT_EQ(locks(), "");
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace
}  // namespace godwit::e2e
