// Veth pairs with one end in the tree's network namespace and the other outside, as containers have them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/net_namespace.h"
#include "tests/e2e/pipeline.h"

namespace godwit::e2e {

namespace {

/// The test, and with it what it starts, moves into a network namespace that stands for the host: devices
/// outside of the tree are nobody else's, and go with it.
class Host {
 public:
  Host() : before_(open_file("/proc/self/ns/net", O_RDONLY)) {
    if (::unshare(CLONE_NEWNET) != 0) {
      throw errno_error("cannot make a network namespace");
    }
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() { ::setns(before_.get(), CLONE_NEWNET); }

 private:
  Fd before_;
};

/// A program with an eth0, whose other end is a port of a bridge here.
class NetOutside : public testing::Test {
 protected:
  static std::string furnish(pid_t pid) {
    return fmt::format(
        "ip link set lo up; ip link add gwbr0 type bridge; ip addr add 10.88.0.1/24 dev gwbr0; "
        "ip link set gwbr0 up; ip link add gwout0 mtu 1400 type veth peer name eth0 address "
        "02:00:00:00:00:02 mtu 1400 netns {0}; ip link set gwout0 master gwbr0 up; "
        "nsenter -t {0} -n sh -ec 'ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up; "
        "ip route add default via 10.88.0.1'",
        pid);
  }
  void SetUp() override {
    const Outcome furnished = run_in_net(getpid(), furnish(workload_.root()));
    ASSERT_TRUE(furnished.ok()) << furnished.words();
    ASSERT_TRUE(wait_until([] { return answers(); })) << "the container can't be reached to begin with";
  }
  /// Nobody listens there, which it says if it can be reached.
  static bool answers() {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    ::inet_pton(AF_INET, "10.88.0.2", &to.sin_addr);
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 &&
           errno == ECONNREFUSED;
  }
  static bool exists(const char* device) { return ::if_nametoindex(device) != 0; }
  static std::string master_of(const char* device) {
    return run_in_net(getpid(), fmt::format("ip -o link show {}", device)).output;
  }

  Host host_;
  NetWorkload workload_{"true"};
};

TEST_F(NetOutside, IsMadeAgainUnderTheNameThatTheRestoreGives) {
  workload_.round_trip({"--external", "veth[eth0]:outer"}, {"--external", "veth[eth0]=gwnew0@gwbr0"});
  EXPECT_TRUE(exists("gwnew0"));
  EXPECT_NE(master_of("gwnew0").find("master gwbr0"), std::string::npos) << master_of("gwnew0");
  EXPECT_TRUE(wait_until([] { return answers(); }));
  EXPECT_EQ(workload_.verdict(), "pass");
}

TEST_F(NetOutside, NeedsNoBridge) {
  workload_.round_trip({"--external", "veth[eth0]:outer"}, {"--external", "veth[eth0]=gwnew0"});
  EXPECT_EQ(master_of("gwnew0").find("master"), std::string::npos) << master_of("gwnew0");
  EXPECT_EQ(workload_.verdict(), "pass");
}

/// The kernel takes the old pair away only when nobody is in its namespace any more, and after that in its
/// own time.
TEST_F(NetOutside, WaitsForItsOldName) {
  const TemporaryDirectory images;
  std::optional<Fd> held = open_file(fmt::format("/proc/{}/ns/net", workload_.root()), O_RDONLY);
  const Outcome dumped = dump(workload_.root(), images / "1", {"--external", "veth[eth0]:outer"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  ASSERT_TRUE(exists("gwout0"));
  std::thread soon([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    held.reset();
  });
  const Restored restored = restore(images / "1", {"--external", "veth[eth0]=gwout0@gwbr0"});
  soon.join();
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  workload_.set_root(restored.root);
  EXPECT_TRUE(wait_until([] { return answers(); }));
  EXPECT_EQ(workload_.verdict(), "pass");
}

/// A restore from a stream looks for what it needs from outside before the dump ends the tree.
TEST_F(NetOutside, IsAskedForWhileTheTreeLives) {
  const TemporaryDirectory copies;
  const std::string space = read_link(fmt::format("/proc/{}/ns/net", workload_.root()));
  struct Case {
    std::string dump;
    std::string restore;
    const char* says;
  };
  for (const Case& one :
       {Case{"--external 'veth[eth0]:outer'", "", "veth[eth0]=OUT@BRIDGE"},
        Case{"--external 'veth[eth0]:outer'", "--external 'veth[eth0]=gwnew0@gwbr1'", "gwbr1"},
        Case{fmt::format("--external 'net[{}]:space'", space.substr(5, space.size() - 6)), "",
             "hand one over under the name space"}}) {
    const Outcome outcome =
        run_pipeline(workload_.root(),
                     fmt::format("GODWIT dump -t {} -o - {} | GODWIT restore -i - --detach {}",
                                 workload_.root(), one.dump, one.restore),
                     copies.path());
    EXPECT_FALSE(outcome.ok());
    EXPECT_NE(outcome.output.find(one.says), std::string::npos) << outcome.words();
    ASSERT_EQ(::kill(workload_.root(), 0), 0) << "the tree has ended: " << outcome.words();
  }
  EXPECT_TRUE(answers());
  EXPECT_EQ(workload_.verdict(), "pass");
}

TEST_F(NetOutside, IsRefusedUnlessNamed) {
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload_.root(), images / "1", {"--external", "veth[eth1]:outer"});
  EXPECT_EQ(dumped.exit_code, 1);
  EXPECT_NE(dumped.output.find("network device eth0 (veth)"), std::string::npos) << dumped.output;
  EXPECT_NE(dumped.output.find("--external veth[eth0]:NAME"), std::string::npos) << dumped.output;
  EXPECT_TRUE(answers());
  EXPECT_EQ(workload_.verdict(), "pass");
}

/// What fails leaves nothing here, and the checkpoint can be restored afterwards.
TEST_F(NetOutside, FailsByName) {
  const TemporaryDirectory images;
  const Outcome dumped = dump(workload_.root(), images / "1", {"--external", "veth[eth0]:gwout0@gwbr0"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const auto fails = [&](const std::vector<std::string>& options, const std::string& says) {
    const Restored restored = restore(images / "1", options);
    EXPECT_EQ(restored.outcome.exit_code, 1);
    EXPECT_NE(restored.outcome.output.find(says), std::string::npos) << restored.outcome.output;
    EXPECT_FALSE(exists("gwnew0"));
  };
  fails({}, "veth[eth0]=OUT@BRIDGE; when dumped it was said to be gwout0@gwbr0");
  fails({"--external", "veth[eth0]=gwnew0@gwbr1"}, "cannot find network device gwbr1");
  fails({"--external", "veth[eth0]=gwnew0@"}, "not 'gwnew0@'");
  fails({"--external", "veth[eth0]=a-name-that-is-too-long"}, "not 'a-name-that-is-too-long'");
  fails({"--external", "veth[eth0]=gwbr0"}, "File exists");
  const Restored restored = restore(images / "1", {"--external", "veth[eth0]=gwnew0@gwbr0"});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  workload_.set_root(restored.root);
  EXPECT_TRUE(wait_until([] { return answers(); }));
  EXPECT_EQ(workload_.verdict(), "pass");
}

/// Its clients say only when they restore what is outside.
TEST_F(NetOutside, IsMadeAgainByTheCriuFrontEnd) {
  for (const std::vector<std::string>& option :
       {std::vector<std::string>{"--external", "veth[eth0]:gwnew0@gwbr0"},
        std::vector<std::string>{"--veth-pair", "eth0=gwnew1@gwbr0"}}) {
    const TemporaryDirectory images;
    const std::vector<pid_t> tree = tree_of(workload_.root());
    const Outcome dumped =
        run({CRIU_BINARY, "dump", "-t", std::to_string(workload_.root()), "-D", images.path()});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    std::vector<std::string> command{CRIU_BINARY, "restore",   "-D",          images.path(),
                                     "-d",        "--pidfile", images / "pid"};
    command.insert(command.end(), option.begin(), option.end());
    ASSERT_TRUE(wait_until_gone(tree));
    const Outcome restored = run(command);
    ASSERT_TRUE(restored.ok()) << restored.words();
    workload_.set_root(std::stoi(read_file(images / "pid")));
    EXPECT_TRUE(wait_until([] { return answers(); })) << option.back();
  }
  EXPECT_EQ(workload_.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
