// runc, as Debian has it, with our criu first in PATH: a container is checkpointed and restored by the
// runtime that started it.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/e2e/counting_container.h"
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
    for (const char* program : {"/usr/sbin/runc", kBusybox, "/usr/bin/python3"}) {
      ASSERT_TRUE(have_program(program)) << program << " is needed (scripts/install-deps)";
    }
    const std::string_view test = testing::UnitTest::GetInstance()->current_test_info()->name();
    const Outcome made =
        shell("cd '" + bundle_.path() +
              "' && mkdir -p rootfs/bin rootfs/proc rootfs/dev rootfs/sys rootfs/tmp && " +
              "cp /bin/busybox rootfs/bin/ && " +
              "for name in sh usleep mv syslogd logger; do ln -s busybox rootfs/bin/$name; done && " +
              "runc spec && python3 -c 'import json; c = json.load(open(\"config.json\")); " +
              "c[\"process\"][\"terminal\"] = False; c[\"root\"][\"readonly\"] = False; " +
              "c[\"process\"][\"args\"] = [\"/bin/sh\", \"-c\", \"" +
              (test == "ASocketWithAName" ? "syslogd -n -O /messages & " : "") + kCountForever +
              "\"]; json.dump(c, open(\"config.json\", \"w\"))'");
    ASSERT_TRUE(made.ok()) << made.output;
    if (test != "Attached") {
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
  Reaper reaper_;
  TemporaryDirectory bundle_;
  TemporaryDirectory state_;
  const std::string name_ = "godwit-test-" + std::to_string(::getpid());
};

TEST_F(Runc, ARefusedCheckpointLeavesTheContainerRunning) {
  const Outcome outcome = checkpoint("--pre-dump");
  EXPECT_FALSE(outcome.ok());
  EXPECT_NE(outcome.output.find("missing features"), std::string::npos)
      << "runc asks first whether memory can be tracked: " << outcome.output;
  EXPECT_TRUE(counts()) << outcome.output;
}

TEST_F(Runc, LeaveRunning) {
  for (int round = 0; round < 2; ++round) {
    const Outcome outcome = checkpoint("--leave-running");
    EXPECT_TRUE(counts()) << outcome.output;
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
  ASSERT_GT(before, 0);
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
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const int before = count();
    ASSERT_GT(before, 0);
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    EXPECT_TRUE(counts());
    EXPECT_GE(count(), before) << "it goes on where it was";
    EXPECT_NE(runc("state " + name_).output.find("\"running\""), std::string::npos);
    EXPECT_TRUE(runc("exec " + name_ + " /bin/sh -c 'test -e /proc/1/stat'").ok());
  }
}

/// The name of a socket belongs to the container's file system, which isn't the restorer's own.
TEST_F(Runc, ASocketWithAName) {
  for (int round = 0; round < 3; ++round) {
    const std::string message = "round " + std::to_string(round);
    const Outcome dumped = checkpoint("");
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const Outcome restored = restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    ASSERT_TRUE(runc("exec " + name_ + " /bin/logger " + "'" + message + "'").ok());
    EXPECT_TRUE(wait_until(
        [&] { return try_read(bundle_ / "rootfs/messages").value_or("").find(message) != std::string::npos; },
        10))
        << "what is sent to /dev/log arrives";
  }
}

}  // namespace
}  // namespace godwit::e2e
