// runc, as Debian has it, with our criu first in PATH: a container is checkpointed and restored by the
// runtime that started it.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/runc_container.h"

namespace godwit::e2e {
namespace {

class Runc : public testing::Test {
 protected:
  void start() {
    ASSERT_TRUE(container_.start().ok());
    ASSERT_TRUE(container_.counts());
  }

  Reaper reaper_;
  RuncContainer container_;
};

TEST_F(Runc, ARefusedCheckpointLeavesTheContainerRunning) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Outcome outcome = container_.checkpoint("--lazy-pages");
  EXPECT_FALSE(outcome.ok());
  EXPECT_NE(outcome.output.find("missing features"), std::string::npos)
      << "runc asks first whether memory can be restored lazily: " << outcome.output;
  EXPECT_TRUE(container_.counts()) << outcome.output;
}

TEST_F(Runc, LeaveRunning) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 2; ++round) {
    const Outcome outcome = container_.checkpoint("--leave-running");
    EXPECT_TRUE(container_.counts()) << outcome.output;
    ASSERT_TRUE(outcome.ok()) << outcome.output;
    EXPECT_TRUE(godwit({"verify", container_.state / "images"}).ok());
  }
}

/// runc stays and passes on what the container writes into pipes of runc's.
TEST_F(Runc, Attached) {
  const auto attach = [&](const std::string& arguments, const std::string& output) {
    // The shell ends at once, and leaves runc to the reaper.
    return run({"/bin/sh", "-c",
                container_.line(arguments + " " + container_.name) + " >'" + output + "' 2>&1 </dev/null &"});
  };
  ASSERT_TRUE(attach("run --bundle '" + container_.bundle.path() + "'", container_.state / "before").ok());
  ASSERT_TRUE(container_.counts());
  const Outcome dumped = container_.checkpoint();
  ASSERT_TRUE(dumped.ok()) << dumped.output;
  const int before = container_.count();
  ASSERT_GT(before, 0);
  ASSERT_TRUE(attach("restore " + container_.directories() + "--bundle '" + container_.bundle.path() + "'",
                     container_.state / "after")
                  .ok());
  EXPECT_TRUE(container_.counts());
  const auto written = [&] { return std::atoi(try_read(container_.state / "after").value_or("").c_str()); };
  EXPECT_TRUE(wait_until([&] { return written() > 0; }, 10));
  EXPECT_GE(written(), before) << "the first line that the new pipe brought";
}

TEST_F(Runc, CheckpointAndRestoreThreeTimes) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    const Outcome dumped = container_.checkpoint();
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const int before = container_.count();
    ASSERT_GT(before, 0);
    const Outcome restored = container_.restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    EXPECT_TRUE(container_.counts());
    EXPECT_GE(container_.count(), before) << "it goes on where it was";
    EXPECT_NE(container_.runc("state " + container_.name).output.find("\"running\""), std::string::npos);
    EXPECT_TRUE(container_.exec("/bin/sh -c 'test -e /proc/1/stat'").ok());
  }
}

/// runc starts criu in the container's cgroup, which so becomes the root of the new namespace.
TEST_F(Runc, ACgroupNamespace) {
  container_.configure("c['linux']['namespaces'].append({'type': 'cgroup'})");
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string before = container_.exec("/bin/cat /proc/self/cgroup").output;
  ASSERT_NE(before.find(":pids:/\n"), std::string::npos) << before;
  for (int round = 0; round < 2; ++round) {
    const Outcome dumped = container_.checkpoint();
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const Outcome restored = container_.restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    EXPECT_TRUE(container_.counts());
    EXPECT_EQ(container_.exec("/bin/cat /proc/self/cgroup").output, before);
  }
}

/// What was paused runs once it is restored.
TEST_F(Runc, APausedContainer) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_TRUE(container_.runc("pause " + container_.name).ok());
  const Outcome dumped = container_.checkpoint();
  ASSERT_TRUE(dumped.ok()) << dumped.output;
  const int before = container_.count();
  const Outcome restored = container_.restore();
  ASSERT_TRUE(restored.ok()) << restored.output;
  EXPECT_TRUE(container_.counts());
  EXPECT_GT(container_.count(), before);
}

/// The name of a socket belongs to the container's file system, which isn't the restorer's own.
TEST_F(Runc, ASocketWithAName) {
  container_.configure(RuncContainer::command(std::string("syslogd -n -O /messages & ") + kCountForever));
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 3; ++round) {
    const std::string message = "round " + std::to_string(round);
    const Outcome dumped = container_.checkpoint();
    ASSERT_TRUE(dumped.ok()) << dumped.output;
    const Outcome restored = container_.restore();
    ASSERT_TRUE(restored.ok()) << restored.output;
    ASSERT_TRUE(container_.exec("/bin/logger '" + message + "'").ok());
    EXPECT_TRUE(wait_until(
        [&] { return try_read(container_.file("messages")).value_or("").find(message) != std::string::npos; },
        10))
        << "what is sent to /dev/log arrives";
  }
}

}  // namespace
}  // namespace godwit::e2e
