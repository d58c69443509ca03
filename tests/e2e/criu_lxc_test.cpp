// LXC, as Debian has it, with our criu first in PATH: by its command line.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/runtime.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {
namespace {

/// A container of LXC's busybox template, whose init runs a shell that counts, and syslogd. No terminals, as
/// lxc-checkpoint(1) wants it.
class Lxc : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/bin/lxc-checkpoint", "/usr/share/lxc/templates/lxc-busybox"}) {
      ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
    }
    const Outcome created = lxc("create", "-t busybox");
    ASSERT_TRUE(created.ok()) << created.words();
    ASSERT_TRUE(with_criu("sed -i -e 's/^lxc.net.0.type.*/lxc.net.0.type = empty/' -e '/^lxc.net.0.[lf]/d' " +
                          std::string("-e 's/^lxc.tty.max.*/lxc.tty.max = 0/' '") + directory() + "/config'")
                    .ok());
    std::ofstream(directory() + "/config", std::ios::app) << "lxc.console.path = none\n";
    std::ofstream(directory() + "/rootfs/count.sh") << kCountForever << "\n";
    std::ofstream(directory() + "/rootfs/etc/inittab")
        << "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sh /count.sh >/dev/null\n";
    const Outcome started = lxc("start", "");
    ASSERT_TRUE(started.ok()) << started.words();
    ASSERT_TRUE(counts());
  }

  void TearDown() override {
    if (HasFailure()) {
      for (const char* log : {"images/dump.log", "images/restore.log"}) {
        std::fputs(try_read(state_ / log).value_or("").c_str(), stderr);
      }
    }
    static_cast<void>(lxc("stop", "-k"));
    static_cast<void>(lxc("destroy", ""));
    remove_cgroups("lxc.payload." + name_);
    remove_cgroups("lxc.monitor." + name_);
  }

  /// What it prints goes to a file: the monitor, which stays, would hold a pipe of ours.
  Outcome lxc(const std::string& command, const std::string& options) const {
    const std::string output = state_ / "output";
    Outcome outcome = with_criu("lxc-" + command + " -P '" + state_.path() + "' -n " + name_ + " " + options +
                                " >'" + output + "' 2>&1");
    outcome.output += try_read(output).value_or("");
    return outcome;
  }
  std::string directory() const { return state_ / name_; }
  int count() const { return std::atoi(try_read(directory() + "/rootfs/count").value_or("").c_str()); }
  bool counts() const {
    const int before = count();
    return wait_until([&] { return count() > before; }, 10);
  }

  Reaper reaper_;
  TemporaryDirectory state_;
  const std::string name_ = "godwit-test-" + std::to_string(::getpid());
};

TEST_F(Lxc, CheckpointAndRestoreThreeTimes) {
  for (int round = 0; round < 3; ++round) {
    const std::string images = "-D '" + (state_ / "images") + "'";
    ASSERT_TRUE(with_criu("rm -rf '" + (state_ / "images") + "'").ok());
    const Outcome dumped = lxc("checkpoint", "-s " + images);
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NE(lxc("info", "-s").output.find("STOPPED"), std::string::npos);
    const int before = count();
    ASSERT_GT(before, 0);
    const Outcome restored = lxc("checkpoint", "-r " + images);
    ASSERT_TRUE(restored.ok()) << restored.words();
    EXPECT_TRUE(counts());
    EXPECT_GT(count(), before) << "it goes on where it was";
    EXPECT_NE(lxc("info", "-s").output.find("RUNNING"), std::string::npos);
    const Outcome inside = lxc("attach", "-- /bin/sh -c 'cat /proc/1/cgroup; ps'");
    EXPECT_NE(inside.output.find("syslogd"), std::string::npos) << inside.words();
    EXPECT_NE(try_read("/sys/fs/cgroup/pids/lxc.payload." + name_ + "/cgroup.procs").value_or(""), "")
        << "it is in the cgroup that LXC has made for it";
  }
}

}  // namespace
}  // namespace godwit::e2e
