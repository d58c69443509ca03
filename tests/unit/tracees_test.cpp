#include "restore/tracees.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/procfs.h"
#include "kernel/ptrace.h"
#include "tests/unit/two_threads.h"

namespace godwit {
namespace {

/// The tests would wait for good without what they test.
class Tracees : public testing::Test {
 protected:
  void SetUp() override {
    task_.add_pid(process_.pid());
    for (const pid_t tid : procfs::read_threads(process_.pid())) {
      task_.add_threads()->add_tid(tid);
    }
    ASSERT_EQ(task_.threads_size(), 2);
    seize_task(task_);
    ::alarm(20);
  }
  void TearDown() override { ::alarm(0); }

  /// The other thread is dead, which nobody has noticed yet.
  void kill_process() {
    ASSERT_EQ(::kill(process_.pid(), SIGKILL), 0);
    while (!ptrace::has_ended(task_.threads(1).tid(0))) {
      ::usleep(100);
    }
  }

  TwoThreads process_;
  image::Task task_;
};

TEST_F(Tracees, ATaskThatIsKilledIsNotWaitedFor) {
  kill_process();
  const Plan plan;
  const Region region(plan, 0);
  try {
    bring_home({&task_}, region);
    FAIL() << "it is dead";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("died while it was being restored"), std::string::npos) << e.what();
  }
  EXPECT_EQ(::waitpid(task_.threads(1).tid(0), nullptr, __WALL), task_.threads(1).tid(0));
}

TEST_F(Tracees, TheEndOfATaskThatIsKilledAsItIsLetGoIsTold) {
  for (const auto& thread : task_.threads()) {
    ASSERT_TRUE(ptrace::interrupt(thread.tid(0)));
    ASSERT_EQ(ptrace::wait(thread.tid(0)).kind, ptrace::Change::Kind::Interrupted);
  }
  kill_process();
  let_go({&task_});
  int status = 0;
  ASSERT_EQ(::waitpid(process_.pid(), &status, 0), process_.pid());
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

}  // namespace
}  // namespace godwit
