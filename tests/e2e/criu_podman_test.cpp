// Podman on runc, as Debian has both, with our criu first in PATH.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {

namespace {

/// A container of busybox that counts: into its own file system, and to its output, which conmon keeps.
class Podman : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/bin/podman", "/usr/sbin/runc", "/bin/busybox"}) {
      ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
    }
    const Outcome imported =
        with_criu("cd '" + state_.path() + "' && mkdir -p fs/bin && cp /bin/busybox fs/bin/ && " +
                  "for name in sh cat mv usleep httpd; do ln -s busybox fs/bin/$name; done && tar -C fs -cf "
                  "fs.tar . && " +
                  podman_ + " import fs.tar counter");
    ASSERT_TRUE(imported.ok()) << imported.words();
  }

  void start(const std::string& options = "--network none", const std::string& before_counting = "") {
    const Outcome started =
        podman("run -d " + options + " --cgroup-parent /" + cgroup_ +
               " --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --name first counter /bin/sh -c '" +
               before_counting + kCountForever + "'");
    ASSERT_TRUE(started.ok()) << started.words();
    ASSERT_TRUE(counts("first"));
  }

  void TearDown() override {
    for (const char* name : {"first", "second"}) {
      static_cast<void>(podman(std::string("rm --force --time 0 --ignore ") + name));
    }
    // Its storage is mounted on itself, and stays so.
    unmount_below(state_.path());
    remove_cgroups(cgroup_);
  }

  /// What it prints goes to a file: conmon, which stays, would hold a pipe of ours.
  Outcome podman(const std::string& arguments) const {
    const std::string output = state_ / "output";
    Outcome outcome = with_criu(before_ + podman_ + " " + arguments + " >'" + output + "' 2>&1");
    outcome.output += try_read(output).value_or("");
    return outcome;
  }

  int count(const std::string& name) const {
    return std::atoi(podman("exec " + name + " cat /count").output.c_str());
  }
  bool counts(const std::string& name) const {
    const int before = count(name);
    return wait_until([&] { return count(name) > before; }, 10);
  }
  int last_line(const std::string& name) const {
    return std::atoi(podman("logs --tail 1 " + name).output.c_str());
  }

  std::string before_;  // of a command line
  Reaper reaper_;
  TemporaryDirectory state_;
  const std::string cgroup_ = "godwit-test-" + std::to_string(::getpid());
  const std::string podman_ = "podman --root '" + state_.path() + "/root' --network-config-dir '" +
                              state_.path() + "/networks' --runroot '" + state_.path() + "/run' --tmpdir '" +
                              state_.path() +
                              "/tmp' --runtime runc --cgroup-manager cgroupfs --events-backend file";
};

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
