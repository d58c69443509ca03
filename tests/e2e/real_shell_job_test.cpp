// A pipeline that a shell runs in a terminal, as a job of its own, restored under another shell in another
// terminal.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/conversation.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {

namespace {

class Terminal {
 public:
  Terminal() {
    Fd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) {
      throw errno_error("cannot make a terminal");
    }
    slave_ = ptsname(master.get());
    conversation_.emplace(std::move(master));
  }

  /// A leader of a new session with this as its controlling terminal, which runs one command as a job in the
  /// foreground and stays. Returns the leader's pid; the job's pid comes by `job`.
  pid_t start(const std::vector<std::string>& command, pid_t& job) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      throw errno_error("cannot make a pipe");
    }
    const Fd from(ends[0]);
    Fd to(ends[1]);
    const pid_t leader = fork();
    if (leader == 0) {
      lead(command, to.get());
    }
    to.reset();
    if (read(from.get(), &job, sizeof job) != sizeof job) {
      throw error("the terminal's session did not start");
    }
    return leader;
  }

  void type(const std::string& text) const { conversation_->type(text); }
  bool expect(const std::string& text) { return conversation_->expect(text); }
  [[nodiscard]] pid_t foreground_group() const { return tcgetpgrp(conversation_->master()); }

  [[nodiscard]] const std::string& seen() const { return conversation_->seen(); }

 private:
  [[noreturn]] void lead(const std::vector<std::string>& command, int report) {
    setsid();
    const int terminal = open(slave_.c_str(), O_RDWR);
    ioctl(terminal, TIOCSCTTY, 0);
    // The leader never waits: its children go away by themselves.
    signal(SIGCHLD, SIG_IGN);
    const pid_t job = fork();
    if (job == 0) {
      signal(SIGCHLD, SIG_DFL);
      setpgid(0, 0);
      signal(SIGTTOU, SIG_IGN);
      tcsetpgrp(terminal, getpid());
      signal(SIGTTOU, SIG_DFL);
      dup2(terminal, 0);
      dup2(terminal, 1);
      dup2(terminal, 2);
      // Nothing of the test's own stays open.
      for (int fd = 3; fd < 1000; ++fd) {
        close(fd);
      }
      std::vector<char*> arguments;
      for (const std::string& word : command) {
        arguments.push_back(const_cast<char*>(word.c_str()));
      }
      arguments.push_back(nullptr);
      char* environment[] = {const_cast<char*>("PATH=/usr/bin:/bin"), const_cast<char*>("LANG=C"), nullptr};
      execve(arguments[0], arguments.data(), environment);
      _exit(127);
    }
    [[maybe_unused]] const ssize_t n = write(report, &job, sizeof job);
    for (;;) {
      pause();
    }
  }

  std::optional<Conversation> conversation_;
  std::string slave_;
};

std::vector<pid_t> sorted_tree(pid_t root) {
  std::vector<pid_t> tree = tree_of(root);
  std::sort(tree.begin(), tree.end());
  return tree;
}

/// `shell` runs a pipeline of three that answers "GOT line n".
void survive(const std::vector<std::string>& shell) {
  const Reaper reaper;
  const TemporaryDirectory directory;
  Terminal first;
  pid_t job = 0;
  const pid_t leader = first.start(shell, job);
  first.type("one\n");
  ASSERT_TRUE(first.expect("GOT one 1")) << first.seen();
  ASSERT_TRUE(wait_until([&] { return tree_of(job).size() == 4; }));
  const std::vector<pid_t> tree = sorted_tree(job);
  const pid_t foreground = first.foreground_group();

  const Outcome dumped = dump(job, directory / "checkpoint", {"--shell-job"});
  ASSERT_TRUE(dumped.ok()) << "dump " << dumped.words();
  kill(leader, SIGKILL);
  ASSERT_TRUE(wait_until_gone({leader}));

  // In the new terminal the restore command is the job; what it restores becomes one in its place.
  Terminal second;
  pid_t command = 0;
  const std::string pid_file = directory / "pid";
  second.start({GODWIT_BINARY, "restore", "-D", directory / "checkpoint", "--detach", "--pidfile", pid_file},
               command);
  ASSERT_TRUE(wait_until([&] { return !try_read(pid_file).value_or("").empty(); }, 10))
      << second.expect("\n") << second.seen();
  EXPECT_EQ(sorted_tree(job), tree);
  EXPECT_EQ(second.foreground_group(), foreground);
  second.type("two\n");
  EXPECT_TRUE(second.expect("GOT two 2")) << second.seen();
  second.type("three\n");
  EXPECT_TRUE(second.expect("GOT three 3")) << second.seen();
  // End of file at the terminal ends the pipeline.
  second.type("\x04");
  EXPECT_TRUE(wait_until_gone(tree, 10));
}

constexpr const char* kPipeline =
    "n=0; while read line; do n=$((n+1)); echo \"got $line $n\"; done | sed -u 's/got/GOT/' | cat";

TEST(RealShellJob, PipelineInATerminal) {
  survive({"/bin/sh", "-c", kPipeline});
}

TEST(RealShellJob, PipelineThatIsAJobOfItsOwn) {
  // With job control the pipeline is a group in the foreground that a child leads.
  survive({"/bin/bash", "-c", std::string("set -m; ") + kPipeline});
}

/// What was restored by a shell's foreground command stops and goes on as the command itself would.
TEST(RealShellJob, AnAttachedRestoreIsTheShellsJob) {
  const Reaper reaper;
  const TemporaryDirectory directory;
  Terminal first;
  pid_t job = 0;
  const pid_t leader = first.start({"/bin/sh", "-c", kPipeline}, job);
  first.type("one\n");
  ASSERT_TRUE(first.expect("GOT one 1")) << first.seen();
  const Outcome dumped = dump(job, directory / "checkpoint", {"--shell-job"});
  ASSERT_TRUE(dumped.ok()) << "dump " << dumped.words();
  kill(leader, SIGKILL);
  ASSERT_TRUE(wait_until_gone({leader}));

  Terminal second;
  pid_t shell = 0;
  second.start({"/bin/bash", "--norc", "--noediting", "-i"}, shell);
  second.type("PS1=re'ady> '; cd " + directory.path() + "\n");
  ASSERT_TRUE(second.expect("ready> ")) << second.seen();
  second.type(std::string(GODWIT_BINARY) + " restore -D checkpoint --pidfile pid; echo ended $?\n");
  ASSERT_TRUE(wait_until([&] { return second.foreground_group() == job; }, 10)) << second.seen();
  second.type("two\n");
  EXPECT_TRUE(second.expect("GOT two 2")) << second.seen();
  second.type("\x1a");  // Ctrl-Z
  EXPECT_TRUE(second.expect("Stopped")) << second.seen();
  EXPECT_TRUE(wait_until([&] { return state_of(job) == 'T' && second.foreground_group() == shell; }));
  second.type("fg\n");
  EXPECT_TRUE(wait_until([&] { return second.foreground_group() == job; }, 10)) << second.seen();
  second.type("three\n");
  EXPECT_TRUE(second.expect("GOT three 3")) << second.seen();
  const std::vector<pid_t> tree = sorted_tree(job);
  second.type("\x03");  // Ctrl-C
  EXPECT_TRUE(wait_until_gone(tree, 10));
  second.type("echo shell is $((40 + 2))\n");
  EXPECT_TRUE(second.expect("shell is 42")) << second.seen();
}

/// A tree with a session of its own gets nothing from the terminal itself.
TEST(RealShellJob, CtrlCReachesAllOfATreeInItsOwnSession) {
  const Reaper reaper;
  const TemporaryDirectory directory;
  const pid_t root = launch({"/bin/sh", "-c", "sleep 1000; exit 1"});
  ASSERT_TRUE(wait_until([&] { return tree_of(root).size() == 2; }));
  const std::vector<pid_t> tree = sorted_tree(root);
  const Outcome dumped = dump(root, directory / "checkpoint");
  ASSERT_TRUE(dumped.ok()) << "dump " << dumped.words();
  Terminal terminal;
  pid_t command = 0;
  terminal.start({GODWIT_BINARY, "restore", "-D", directory / "checkpoint"}, command);
  ASSERT_TRUE(wait_until([&] { return sorted_tree(root) == tree && state_of(root) == 'S'; }, 10));
  terminal.type("\x03");
  EXPECT_TRUE(wait_until_gone(tree, 10));
}

}  // namespace

}  // namespace godwit::e2e
