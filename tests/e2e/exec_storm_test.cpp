// A process that executes programs all the time while it is dumped: each dump succeeds or says why not, none
// hangs (a seizure and an execve(2) could wait for each other for good), and the process goes on.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {

namespace {

TEST(ExecStorm, NoDumpHangsAndTheProcessGoesOn) {
  const Reaper reaper;
  const TemporaryDirectory images;
  const pid_t root = launch({WORKLOAD_DIR "/exec_storm"});
  int succeeded = 0;
  std::map<std::string, int> refusals;
  for (int round = 0; round < 60; ++round) {
    const std::string image = images / "checkpoint";
    const Outcome dumped = godwit({"dump", "-t", std::to_string(root), "-D", image, "--leave-running"}, 20);
    ASSERT_FALSE(dumped.hung) << "round " << round;
    if (dumped.ok()) {
      ++succeeded;
      std::filesystem::remove_all(image);
    } else {
      EXPECT_EQ(dumped.exit_code, 1) << dumped.words();
      EXPECT_EQ(lines_of(dumped.output).size(), 1U) << dumped.output;
      EXPECT_FALSE(std::filesystem::exists(image));
      EXPECT_EQ(dumped.output.find("doesn't stop"), std::string::npos) << dumped.output;
      EXPECT_EQ(dumped.output.find("ended while"), std::string::npos) << dumped.output;
      ++refusals[dumped.output.substr(0, 200)];
    }
    ASSERT_EQ(::kill(root, 0), 0) << "round " << round << ": " << dumped.output;
  }
  printf("%d of 60 dumps succeeded\n", succeeded);
  EXPECT_GT(succeeded, 0);
  const auto runs = [&] { return try_read("/proc/" + std::to_string(root) + "/stat").value_or(""); };
  const std::string before = runs();
  EXPECT_TRUE(wait_until([&] { return runs() != before; })) << "it stands still: " << before;
}

}  // namespace

}  // namespace godwit::e2e
