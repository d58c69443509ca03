#include "dump/freezer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "kernel/ptrace.h"
#include "tests/unit/two_threads.h"

namespace godwit {
namespace {

TEST(Freezer, TellsTheEndOfALeaderWhoseThreadsAreDead) {
  const TwoThreads task;
  const Freezer freezer(task.pid());
  ASSERT_EQ(freezer.tasks().at(0).threads.size(), 2U);
  ASSERT_EQ(::kill(task.pid(), SIGKILL), 0);
  ::alarm(20);  // without its undertaker the next line would wait for good
  EXPECT_EQ(ptrace::wait(task.pid()).kind, ptrace::Change::Kind::Gone);
  ::alarm(0);
}

}  // namespace
}  // namespace godwit
