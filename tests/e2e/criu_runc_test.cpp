// runc, as Debian has it, with our criu first in PATH: a container is checkpointed and restored by the
// runtime that started it.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {
namespace {

constexpr const char* kBusybox = "/bin/busybox";

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

/// The container of `runc spec`, without a terminal, whose root file system is busybox, and which counts.
class Runc : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_program("/usr/sbin/runc") || !have_program(kBusybox) || !have_program("/usr/bin/python3")) {
      GTEST_SKIP() << "runc, busybox-static and python3 are needed";
    }
    if (!run({"/bin/sh", "-c", "! ldd /bin/busybox >/dev/null 2>&1"}).ok()) {
      GTEST_SKIP() << "/bin/busybox isn't static";
    }
    const Outcome made = shell(
        "cd '" + bundle_.path() +
        "' && mkdir -p rootfs/bin rootfs/proc rootfs/dev rootfs/sys rootfs/tmp && " +
        "cp /bin/busybox rootfs/bin/ && ln -s busybox rootfs/bin/sh && ln -s busybox rootfs/bin/usleep && " +
        "runc spec && python3 -c 'import json; c = json.load(open(\"config.json\")); " +
        "c[\"process\"][\"terminal\"] = False; c[\"root\"][\"readonly\"] = False; " +
        "c[\"process\"][\"args\"] = [\"/bin/sh\", \"-c\", \"i=0; while :; do i=$((i+1)); echo $i >/count; "
        "echo $i; " +
        "usleep 20000; done\"]; json.dump(c, open(\"config.json\", \"w\"))'");
    ASSERT_TRUE(made.ok()) << made.output;
    if (std::string_view(testing::UnitTest::GetInstance()->current_test_info()->name()) != "Attached") {
      // The container's standard descriptors are runc's: a file outside couldn't be reached from inside
      // again.
      const Outcome started = shell("runc --root '" + state_.path() + "/runc' run --bundle '" +
                                    bundle_.path() + "' --detach " + name_ + " >/dev/null 2>&1");
      ASSERT_TRUE(started.ok()) << started.output;
      ASSERT_TRUE(counts());
    }
  }

  void TearDown() override {
    static_cast<void>(runc("delete --force " + name_));
    for (const char* log : {"work/dump.log", "work/restore.log"}) {
      if (HasFailure()) {
        std::fputs(try_read(state_ / log).value_or("").c_str(), stderr);
      }
    }
  }

  static Outcome shell(const std::string& command) {
    return run({"/bin/sh", "-c",
                "export PATH=" + directory_of(CRIU_BINARY) +
                    ":/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin; " + command + " </dev/null"});
  }
  Outcome runc(const std::string& arguments) const {
    // What it prints goes to a file: a container that held a pipe of ours would hold us up.
    const std::string output = state_ / "output";
    Outcome outcome =
        shell("runc --root '" + state_.path() + "/runc' " + arguments + " >'" + output + "' 2>&1");
    outcome.output += try_read(output).value_or("");
    return outcome;
  }
  Outcome checkpoint(const std::string& options) const {
    return runc("checkpoint " + directories() + options + " " + name_);
  }
  Outcome restore() const {
    return runc("restore " + directories() + "--detach --bundle '" + bundle_.path() + "' " + name_);
  }
  std::string directories() const {
    return "--image-path '" + (state_ / "images") + "' --work-path '" + (state_ / "work") + "' ";
  }

  int count() const { return std::atoi(try_read(bundle_ / "rootfs/count").value_or("").c_str()); }
  bool counts() const {
    const int before = count();
    return wait_until([&] { return count() > before; }, 10);
  }
  /// Why this can't work yet; empty if it should.
  std::string refusal(const char* log) const {
    for (const std::string& line : lines_of(try_read(state_ / log).value_or(""))) {
      if (line.find("Error") != std::string::npos && line.find("isn't supported") != std::string::npos) {
        return line;
      }
    }
    return "";
  }

  Reaper reaper_;
  TemporaryDirectory bundle_;
  TemporaryDirectory state_;
  const std::string name_ = "godwit-test-" + std::to_string(::getpid());
};

TEST_F(Runc, ARefusedCheckpointLeavesTheContainerRunning) {
  const Outcome outcome = checkpoint("--pre-dump");
  EXPECT_FALSE(outcome.ok());
  EXPECT_TRUE(counts()) << outcome.output;
}

TEST_F(Runc, LeaveRunning) {
  for (int round = 0; round < 2; ++round) {
    const Outcome outcome = checkpoint("--leave-running");
    EXPECT_TRUE(counts()) << outcome.output;
    if (const std::string reason = refusal("work/dump.log"); !outcome.ok() && !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    ASSERT_TRUE(outcome.ok()) << outcome.output;
    EXPECT_TRUE(godwit({"verify", state_ / "images"}).ok());
  }
}

/// runc stays and passes on what the container writes into pipes of runc's.
TEST_F(Runc, Attached) {
  const auto attach = [&](const std::string& arguments, const std::string& output) {
    // The shell ends at once, and leaves runc to the reaper.
    return shell("runc --root '" + state_.path() + "/runc' " + arguments + " " + name_ + " >'" + output +
                 "' 2>&1 &");
  };
  ASSERT_TRUE(attach("run --bundle '" + bundle_.path() + "'", state_ / "before").ok());
  ASSERT_TRUE(counts());
  const Outcome dumped = checkpoint("");
  ASSERT_TRUE(dumped.ok()) << dumped.output;
  const int before = count();
  ASSERT_TRUE(
      attach("restore " + directories() + "--bundle '" + bundle_.path() + "'", state_ / "after").ok());
  EXPECT_TRUE(counts());
  const auto written = [&] { return std::atoi(try_read(state_ / "after").value_or("").c_str()); };
  EXPECT_TRUE(wait_until([&] { return written() > 0; }, 10));
  EXPECT_GE(written(), before) << "the first line that the new pipe brought";
}

TEST_F(Runc, CheckpointAndRestoreThreeTimes) {
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = checkpoint("");
    if (const std::string reason = refusal("work/dump.log"); !dumped.ok() && !reason.empty()) {
      EXPECT_TRUE(counts()) << "a container that can't be dumped runs on";
      GTEST_SKIP() << reason;
    }
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const int before = count();
    const Outcome restored = restore();
    if (const std::string reason = refusal("work/restore.log"); !restored.ok() && !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    ASSERT_TRUE(restored.ok()) << restored.output;
    EXPECT_TRUE(counts());
    EXPECT_GE(count(), before) << "it goes on where it was";
    EXPECT_NE(runc("state " + name_).output.find("\"running\""), std::string::npos);
    EXPECT_TRUE(runc("exec " + name_ + " /bin/sh -c 'test -e /proc/1/stat'").ok());
  }
}

}  // namespace
}  // namespace godwit::e2e
