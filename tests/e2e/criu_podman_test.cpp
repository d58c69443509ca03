// Podman on runc, as Debian has both, with our criu first in PATH.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tests/e2e/harness.h"
#include "tests/e2e/podman.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"

namespace godwit::e2e {

namespace {

TEST_F(Podman, InPlaceThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = podman("container checkpoint --print-stats first");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_NE(dumped.output.find("\"pages_written\""), std::string::npos) << dumped.output;
    const int before = last_line("first");
    ASSERT_GT(before, 0);
    const Outcome restored = podman("container restore --print-stats first");
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_NE(restored.output.find("\"pages_restored\""), std::string::npos) << restored.output;
    EXPECT_TRUE(counts("first"));
    EXPECT_GE(count("first"), before) << "it goes on where it was";
    EXPECT_TRUE(wait_until([&] { return last_line("first") > before; }, 10)) << "its output goes on";
  }
}

TEST_F(Podman, ExportedAndImportedUnderAnotherName) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string file = state_ / "container.tar.gz";
  const Outcome dumped = podman("container checkpoint --export '" + file + "' first");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const int before = last_line("first");
  ASSERT_GT(before, 0);
  ASSERT_TRUE(podman("rm first").ok());
  const Outcome restored = podman("container restore --import '" + file + "' --name second");
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts("second"));
  EXPECT_GE(count("second"), before);
}

TEST_F(Podman, LeaveRunning) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 2; ++round) {
    const Outcome dumped = podman("container checkpoint --leave-running first");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_TRUE(counts("first"));
  }
}

/// conmon holds the terminal's master, and writes what comes from it into the log.
TEST_F(Podman, WithATerminalAndVolumes) {
  ASSERT_TRUE(with_criu("mkdir '" + state_.path() + "/there'").ok());
  ASSERT_NO_FATAL_FAILURE(
      start("--network none -t -v '" + state_.path() + "/there:/here' -v named:/named --tmpfs /memory"));
  ASSERT_TRUE(
      podman("exec first /bin/sh -c 'echo one >/here/a; echo two >/named/b; echo three >/memory/c'").ok());
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = podman("container checkpoint first");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const int before = last_line("first");
    ASSERT_GT(before, 0);
    const Outcome restored = podman("container restore first");
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(counts("first"));
    EXPECT_TRUE(wait_until([&] { return last_line("first") > before; }, 10)) << "its output goes on";
    EXPECT_EQ(podman("exec first cat /here/a /named/b /memory/c").output, "one\ntwo\nthree\n");
  }
}

/// The bridge and its rules are in a network namespace of the test's own.
class PodmanNetwork : public Podman {
 protected:
  void SetUp() override {
    ASSERT_TRUE(have_program("/usr/lib/podman/netavark")) << "netavark is needed (scripts/install-deps)";
    ASSERT_TRUE(with_criu("ip netns add " + name_ + " && ip -n " + name_ + " link set lo up").ok());
    before_ = "nsenter --net=/run/netns/" + name_ + " ";
    Podman::SetUp();
  }
  void TearDown() override {
    Podman::TearDown();
    EXPECT_TRUE(with_criu("ip netns del " + name_).ok());
  }
  std::string fetch() const {
    return with_criu(before_ + "curl -s -S --max-time 5 http://127.0.0.1:18080/").output;
  }

 private:
  const std::string name_ = "gwp" + std::to_string(::getpid());
};

TEST_F(PodmanNetwork, APublishedPortThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(start("-p 18080:80", "echo hello >/index.html; httpd -p 80 -h /; "));
  ASSERT_TRUE(wait_until([&] { return fetch() == "hello\n"; }, 10)) << fetch();
  const std::string address = podman("exec first cat /proc/net/fib_trie").output;
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = podman("container checkpoint first");
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_EQ(fetch().find("hello"), std::string::npos) << "nobody answers while it is down";
    const Outcome restored = podman("container restore first");
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_EQ(fetch(), "hello\n");
    EXPECT_EQ(podman("exec first cat /proc/net/fib_trie").output, address) << "its addresses";
  }
}

}  // namespace

}  // namespace godwit::e2e
