// Docker, as Debian has it, with our criu first in PATH: a daemon of the test's own, in a network namespace
// of its own.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {
namespace {

class Docker : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/sbin/dockerd", "/usr/bin/docker", "/usr/sbin/runc", "/bin/busybox"}) {
      ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
    }
    ASSERT_TRUE(with_criu("ip netns add " + name_ + " && ip -n " + name_ + " link set lo up").ok());
    const std::string directory = state_.path();
    // What it starts has its PATH. The bridge and its rules are in our namespace.
    ASSERT_TRUE(with_criu(inside_ + "dockerd --experimental --data-root '" + directory +
                          "/data' --exec-root '" + directory + "/exec' --cgroup-parent /" + name_ +
                          " -H unix://" + directory + "/socket -p '" + directory + "/pid' >'" + directory +
                          "/log' 2>&1 &")
                    .ok());
    ASSERT_TRUE(wait_until([&] { return docker("version").ok(); }, 30))
        << try_read(state_ / "log").value_or("");
    const Outcome imported =
        with_criu("cd '" + directory + "' && mkdir -p fs/bin && cp /bin/busybox fs/bin/ && " +
                  "for name in sh cat mv usleep httpd; do ln -s busybox fs/bin/$name; done && " +
                  "tar -C fs -cf fs.tar . && " + docker_ + "import fs.tar counter");
    ASSERT_TRUE(imported.ok()) << imported.words();
  }

  void TearDown() override {
    if (HasFailure()) {
      std::fputs(
          with_criu("find '" + state_.path() + "' -name 'criu-*.log' | xargs tail -n 5").output.c_str(),
          stderr);
    }
    static_cast<void>(docker("rm --force first"));
    const pid_t daemon = std::atoi(try_read(state_ / "pid").value_or("").c_str());
    if (daemon > 0) {
      ::kill(daemon, SIGTERM);
      EXPECT_TRUE(wait_until_gone({daemon}, 30));
    }
    unmount_below(state_.path());
    EXPECT_TRUE(with_criu("ip netns del " + name_).ok());
    remove_cgroups(name_);
  }

  Outcome docker(const std::string& arguments) const { return with_criu(docker_ + arguments + " 2>&1"); }
  int count() const { return std::atoi(docker("exec first cat /count").output.c_str()); }
  bool counts() const {
    const int before = count();
    return wait_until([&] { return count() > before; }, 10);
  }
  std::string fetch() const {
    return with_criu(inside_ + "curl -s -S --max-time 5 http://127.0.0.1:18080/").output;
  }

  Reaper reaper_;
  TemporaryDirectory state_;
  const std::string name_ = "gwd" + std::to_string(::getpid());
  const std::string inside_ = "nsenter --net=/run/netns/" + name_ + " ";
  const std::string docker_ = "docker -H unix://" + state_.path() + "/socket ";
};

TEST_F(Docker, ACheckpointWithABridgeAndAPublishedPortThreeTimes) {
  const Outcome started =
      docker("run -d -p 18080:80 --name first counter /bin/sh -c '" +
             std::string("echo hello >/index.html; httpd -p 80 -h /; ") + kCountForever + "'");
  ASSERT_TRUE(started.ok()) << started.words();
  ASSERT_TRUE(counts());
  ASSERT_TRUE(wait_until([&] { return fetch() == "hello\n"; }, 10)) << fetch();
  for (int round = 0; round < 3; ++round) {
    const std::string checkpoint = "c" + std::to_string(round);
    const Outcome dumped = docker("checkpoint create first " + checkpoint);
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_TRUE(
        wait_until([&] { return docker("inspect -f '{{.State.Status}}' first").output == "exited\n"; }, 10));
    const int before = std::atoi(docker("logs --tail 1 first").output.c_str());
    ASSERT_GT(before, 0);
    EXPECT_EQ(fetch().find("hello"), std::string::npos) << "nobody answers while it is down";
    const Outcome restored = docker("start --checkpoint " + checkpoint + " first");
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(counts());
    EXPECT_GE(count(), before) << "it goes on where it was";
    EXPECT_TRUE(
        wait_until([&] { return std::atoi(docker("logs --tail 1 first").output.c_str()) > before; }, 10))
        << "its output goes on";
    EXPECT_EQ(fetch(), "hello\n");
  }
}

TEST_F(Docker, LeftRunningWithATerminalAndRestoredLater) {
  ASSERT_TRUE(
      docker("run -d -t --network none --name first counter /bin/sh -c '" + std::string(kCountForever) + "'")
          .ok());
  ASSERT_TRUE(counts());
  for (const char* checkpoint : {"one", "two"}) {
    const Outcome dumped = docker(std::string("checkpoint create --leave-running first ") + checkpoint);
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_TRUE(counts());
  }
  const int before = count();
  ASSERT_TRUE(docker("kill first").ok());
  const Outcome restored = docker("start --checkpoint two first");
  ASSERT_TRUE(restored.ok()) << restored.words();
  EXPECT_TRUE(counts());
  EXPECT_GT(before, 0);
  EXPECT_TRUE(wait_until([&] { return count() > before; }, 10));
}

}  // namespace
}  // namespace godwit::e2e
