#include "restore/pids_taken.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "kernel/error.h"

namespace godwit {
namespace {

TEST(PidIsFree, UnlessAProcessHasIt) {
  EXPECT_FALSE(is_free(::getpid()));
  EXPECT_FALSE(is_free(1));
}

TEST(PidIsFree, UnlessItIsTheNumberOfAGroupWhoseLeaderHasGone) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t leader = ::fork();
  if (leader == 0) {
    ::close(ends[1]);
    ::setsid();
    if (::fork() == 0) {
      char byte;
      static_cast<void>(!::read(ends[0], &byte, 1));
    }
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(leader, nullptr, 0), leader);
  EXPECT_NE(::kill(leader, 0), 0);
  EXPECT_FALSE(is_free(leader));
  ::close(ends[1]);
  ::close(ends[0]);
}

TEST(PidIsFree, WhenItsProcessHasBeenWaitedFor) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(is_free(child));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(is_free(child));
}

Plan plan_with(pid_t pid) {
  Plan plan;
  plan.nodes.emplace_back().pid = pid;
  return plan;
}

/// Its memory is large enough for it to be seen on its way out.
TEST(PidsAreFree, SoonWhenAProcessHasBeenKilled) {
  constexpr size_t kBytes = 64 << 20;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    void* memory =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED || ::write(ends[1], "x", 1) != 1) {
      ::_exit(1);
    }
    for (;;) {
      ::pause();
    }
  }
  char byte = 0;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);
  EXPECT_THROW(check_pids_are_free(plan_with(child)), Error);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  std::thread reaping([&] { EXPECT_EQ(::waitpid(child, nullptr, 0), child); });
  EXPECT_NO_THROW(check_pids_are_free(plan_with(child)));
  reaping.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace godwit
