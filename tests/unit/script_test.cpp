#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "parasite/native.h"

namespace godwit {
namespace {

TEST(Script, PassesResultsThroughSlotsAndReadsDataBack) {
  const NativeScripts native;
  ScriptBuilder script = native.script();
  const uint64_t ends = script.reserve(2 * sizeof(int));
  const OpIndex made = script.call("make a pipe", SYS_pipe2, {ends, O_CLOEXEC});
  const uint64_t path = script.string("/dev/null");
  const Slot null = script.call_to_slot("open", SYS_openat, {AT_FDCWD, path, O_RDONLY});
  const uint64_t text = script.string("hello");
  script.call_expecting("write", -EBADF, SYS_write, {null, text, 5});
  script.place("place", null, 700, true);
  script.release(null);
  native.run(script);

  EXPECT_EQ(script.result(made), 0);
  const auto fds = script.read<std::array<int, 2>>(ends);
  EXPECT_EQ(write(fds[1], "x", 1), 1);
  EXPECT_EQ(fcntl(700, F_GETFD), FD_CLOEXEC);
  for (const int fd : {fds[0], fds[1], 700}) {
    EXPECT_EQ(close(fd), 0);
  }
}

TEST(Script, SaysWhichOperationFailedAndWhatItWasAbout) {
  const NativeScripts native;
  ScriptBuilder script = native.script();
  script.call("get the pid", SYS_getpid, {});
  script.subject([] { return std::string("descriptor 5 of task 41"); });
  const uint64_t path = script.string("/nowhere/at/all");
  script.call("open /nowhere/at/all", SYS_openat, {AT_FDCWD, path, O_RDONLY});
  const OpIndex after = script.call("get the pid", SYS_getpid, {});
  try {
    native.run(script);
    FAIL() << "the script should have failed";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "descriptor 5 of task 41: cannot open /nowhere/at/all: No such file or directory");
    EXPECT_EQ(e.code(), ENOENT);
  }
  EXPECT_EQ(script.result(after), 0) << "nothing runs after a failure";
}

TEST(Script, PlacingADescriptorWhereItIsOnlySetsItsFlag) {
  const NativeScripts native;
  ScriptBuilder script = native.script();
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  script.place("place", fd, fd, false);
  native.run(script);
  EXPECT_EQ(fcntl(fd, F_GETFD), 0);
  EXPECT_EQ(close(fd), 0);
}

TEST(Script, AnErrorCanBeAResult) {
  const NativeScripts native;
  ScriptBuilder script = native.script();
  const OpIndex failed = script.call_may_fail(SYS_close, {123456});
  const OpIndex expected = script.call_may_fail_with("close", EBADF, SYS_close, {123456});
  native.run(script);
  EXPECT_EQ(script.result(failed), -EBADF);
  EXPECT_EQ(script.result(expected), -EBADF);
}

}  // namespace
}  // namespace godwit
