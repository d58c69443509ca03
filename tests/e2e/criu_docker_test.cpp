// Docker, as Debian has it, with our criu first in PATH: a daemon of the test's own, in a network namespace
// of its own.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/e2e/counting_container.h"
#include "tests/e2e/docker.h"
#include "tests/e2e/harness.h"

namespace godwit::e2e {
namespace {

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
