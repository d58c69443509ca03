// Where godwit is started: without standard descriptors, with a full disk behind standard output, with a
// limit of file sizes.
#include <fmt/core.h>
#include <unistd.h>

#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

class Surroundings : public testing::Test {
 protected:
  /// The dump command through a shell, which puts `behind` after it.
  Outcome dump_in_shell(const std::string& before, const std::string& options, const std::string& behind) {
    return run({"/bin/sh", "-c",
                fmt::format("{}{} dump -t {} -D {} {} {}", before, GODWIT_BINARY, workload_.root(), image_,
                            options, behind)});
  }

  void expect_round_trip() {
    const Outcome verified = godwit({"verify", image_});
    EXPECT_TRUE(verified.ok()) << verified.words();
    ASSERT_TRUE(wait_until_gone({workload_.root()}));
    const Restored restored = restore(image_);
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(workload_.verdict(), "pass");
  }

  Reaper reaper_;
  Workload workload_{"threads", 0};
  TemporaryDirectory images_;
  std::string image_ = images_ / "checkpoint";
};

TEST_F(Surroundings, WithoutStandardDescriptorsNoLineGetsIntoTheCheckpoint) {
  const Outcome dumped = dump_in_shell("", "-vv", "<&- >&- 2>&-");
  EXPECT_TRUE(dumped.ok()) << dumped.words();
  expect_round_trip();
}

TEST_F(Surroundings, ADumpWhoseReportCannotBeWrittenIsDone) {
  const Outcome dumped = dump_in_shell("", "", ">/dev/full");
  EXPECT_TRUE(dumped.ok()) << dumped.words();
  EXPECT_NE(dumped.output.find("the dump is done, but"), std::string::npos) << dumped.output;
  expect_round_trip();
}

TEST_F(Surroundings, APidFileReplacesNoLinkOrDevice) {
  const Outcome dumped = dump(workload_.root(), image_);
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const std::string link = images_ / "link";
  ASSERT_EQ(symlink("/dev/null", link.c_str()), 0);
  const Outcome restored = godwit({"restore", "-D", image_, "--detach", "--pidfile", link});
  EXPECT_EQ(restored.exit_code, 1) << restored.words();
  EXPECT_NE(restored.output.find("isn't a regular file"), std::string::npos) << restored.output;
  char target[16] = {};
  EXPECT_EQ(readlink(link.c_str(), target, sizeof target - 1), 9);
  expect_round_trip();
}

TEST_F(Surroundings, ALimitOfFileSizesIsAnError) {
  const Outcome dumped = dump_in_shell("ulimit -f 8; ", "", "");
  EXPECT_EQ(dumped.exit_code, 1) << dumped.words();
  EXPECT_NE(dumped.output.find("File too large"), std::string::npos) << dumped.output;
  EXPECT_NE(access(image_.c_str(), F_OK), 0);
  EXPECT_EQ(workload_.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
