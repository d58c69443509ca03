// Podman on runc, as Debian has both, with our criu first in PATH.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "kernel/userfaultfd.h"
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

/// The shell has a long text, which a signal makes it add to, and another one makes it tell the sum of.
class PodmanRounds : public Podman {
 protected:
  void SetUp() override {
    if (!userfaultfd::can_track_writes()) {
      GTEST_SKIP() << "this kernel can't track writes, or that is hidden";
    }
    Podman::SetUp();
    ASSERT_NO_FATAL_FAILURE(start(
        "--network none",
        "x=0123456789abcdef; n=0; while [ $n -lt 18 ]; do x=$x$x; n=$((n+1)); done; trap \"echo \\$x\\$y "
        "| md5sum >/sum.new; mv /sum.new /sum\" USR1; trap \"y=\\$y-\\$i; echo >/added\" USR2; "));
  }

  /// Sends a signal, and waits for the file that is made upon it.
  void ask(const std::string& name, const std::string& signal, const std::string& file) const {
    static_cast<void>(podman("exec " + name + " rm -f " + file));
    ASSERT_TRUE(podman("kill --signal " + signal + " " + name).ok());
    ASSERT_TRUE(wait_until([&] { return podman("exec " + name + " cat " + file).ok(); }, 20)) << file;
  }
  void change(const std::string& name) const { ask(name, "USR2", "/added"); }
  std::string sum(const std::string& name) const {
    ask(name, "USR1", "/sum");
    return podman("exec " + name + " cat /sum").output;
  }

  static uint64_t number_behind(const std::string& text, const std::string& key) {
    const size_t at = text.find("\"" + key + "\": ");
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + key.size() + 4));
  }
  /// A checkpoint that has written less than the pre-checkpoint.
  void expect_less(const Outcome& first, const Outcome& last) const {
    const uint64_t all = number_behind(first.output, "pages_written");
    EXPECT_GT(all, 1024U) << first.output;
    EXPECT_LT(number_behind(last.output, "pages_written"), all / 2) << last.output;
    EXPECT_GT(number_behind(last.output, "pages_scanned"), all / 2) << last.output;
  }
};

TEST_F(PodmanRounds, InPlaceTwice) {
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    const Outcome first = podman("container checkpoint --pre-checkpoint --print-stats first");
    ASSERT_TRUE(first.ok()) << first.words();
    ASSERT_NO_FATAL_FAILURE(change("first"));
    const std::string before = sum("first");
    ASSERT_EQ(before.size(), 36U) << before;
    const Outcome last = podman("container checkpoint --with-previous --print-stats first");
    ASSERT_TRUE(last.ok()) << last.words();
    expect_less(first, last);
    const Outcome restored = podman("container restore first");
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(counts("first"));
    EXPECT_EQ(sum("first"), before);
  }
}

TEST_F(PodmanRounds, ExportedAndImportedUnderAnotherName) {
  const std::string previous = state_ / "previous.tar.gz";
  const std::string file = state_ / "container.tar.gz";
  const Outcome first =
      podman("container checkpoint --pre-checkpoint --print-stats --export '" + previous + "' first");
  ASSERT_TRUE(first.ok()) << first.words();
  ASSERT_NO_FATAL_FAILURE(change("first"));
  const std::string before = sum("first");
  const Outcome last =
      podman("container checkpoint --with-previous --print-stats --export '" + file + "' first");
  ASSERT_TRUE(last.ok()) << last.words();
  expect_less(first, last);
  ASSERT_TRUE(podman("rm first").ok());
  const Outcome alone = podman("container restore --import '" + file + "' --name second");
  EXPECT_FALSE(alone.ok()) << "without what it builds on";
  static_cast<void>(podman("rm --force --time 0 --ignore second"));
  const Outcome restored =
      podman("container restore --import-previous '" + previous + "' --import '" + file + "' --name second");
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts("second"));
  EXPECT_EQ(sum("second"), before);
}

}  // namespace

}  // namespace godwit::e2e
