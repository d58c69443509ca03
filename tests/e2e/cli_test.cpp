// What the command line promises: exit codes, one clear line about what went wrong, and nothing left behind.

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/proc.h"

namespace godwit::e2e {
namespace {

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// It isn't stopped: it may still have been on its way into its system call.
bool comes_to_sleep(pid_t task) {
  return wait_until([&] { return state_of(task) == 'S'; });
}

class Cli : public testing::Test {
 protected:
  /// One line, which names program and command.
  static void expect_one_line(const Outcome& outcome, const std::string& command) {
    EXPECT_TRUE(outcome.output.starts_with("godwit: " + command + ": ")) << outcome.output;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }

  void expect_usage_error(const std::vector<std::string>& arguments, const std::string& says) {
    const Outcome outcome = godwit(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.words();
    expect_one_line(outcome, arguments.front());
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
    EXPECT_TRUE(contains(outcome.output, "see 'godwit " + arguments.front() + " --help'")) << outcome.output;
    EXPECT_FALSE(exists(checkpoint_));
  }

  void expect_failure(const std::vector<std::string>& arguments, const std::string& says) {
    const Outcome outcome = godwit(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    expect_one_line(outcome, arguments.front());
    EXPECT_TRUE(contains(outcome.output, says)) << outcome.output;
  }

  void expect_dump_refused(pid_t pid, const std::string& says) {
    expect_failure({"dump", "-t", std::to_string(pid), "-D", checkpoint_}, says);
    EXPECT_FALSE(exists(checkpoint_));
  }

  Reaper reaper_;
  TemporaryDirectory directory_;
  const std::string checkpoint_ = directory_ / "checkpoint";
};

TEST_F(Cli, WithoutACommandItSaysWhatThereIs) {
  const Outcome outcome = godwit({});
  EXPECT_EQ(outcome.exit_code, 2);
  for (const char* command : {"check", "dump", "restore", "inspect", "verify"}) {
    EXPECT_TRUE(contains(outcome.output, std::string("\n  ") + command)) << command;
  }
}

TEST_F(Cli, UnknownCommand) {
  const Outcome outcome = godwit({"fly"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.output, "godwit: there is no command 'fly'; see 'godwit --help'\n");
}

TEST_F(Cli, WrongUsage) {
  const std::string d = checkpoint_;
  expect_usage_error({"dump"}, "-t is required, or --runc");
  expect_usage_error({"dump", "-t", "1"}, "where to? -D takes the name of a directory, -o that of a file");
  expect_usage_error({"dump", "-t", "1", "-D", d, "-o", d}, "excludes");
  expect_usage_error({"dump", "-t", "one", "-D", d}, "-t");
  expect_usage_error({"dump", "-t", "0", "-D", d}, "-t takes the pid of a task");
  expect_usage_error({"dump", "-t", "-5", "-D", d}, "-t");
  expect_usage_error({"dump", "-t", "99999999999", "-D", d}, "-t");
  expect_usage_error({"dump", "-t", "1", "-D", ""}, "-D takes the name of a directory");
  expect_usage_error({"dump", "-t", "1", "-D", d, "--leave-running", "--leave-stopped"}, "excludes");
  expect_usage_error({"dump", "-t", "1", "-D", d, "--compress", "lz4"}, "--compress takes zstd or none");
  expect_usage_error({"dump", "-t", "1", "-D", d, "--log-format", "xml"}, "--log-format takes text or json");
  expect_usage_error({"dump", "-t", "1", "-D", d, "--hide-features=warp"},
                     "no kernel feature is called 'warp'");
  expect_usage_error({"dump", "-t", "1", "-D", d, "more"}, "more");
  expect_usage_error({"restore"}, "where from? -D takes the name of a directory, -i that of a file");
  expect_usage_error({"restore", "-D", d, "-i", d}, "excludes");
  expect_usage_error({"restore", "-D", d, "--attach"}, "--attach");
  expect_usage_error({"verify"}, "CHECKPOINT is required");
  expect_usage_error({"inspect"}, "CHECKPOINT is required");
}

TEST_F(Cli, HelpTeaches) {
  for (const char* command : {"check", "dump", "restore", "inspect", "verify"}) {
    const Outcome outcome = godwit({command, "--help"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.words();
    EXPECT_TRUE(outcome.output.starts_with(std::string("Usage: godwit ") + command)) << outcome.output;
    for (const char* part : {"Examples:", "Exit codes: 0", "--log-format"}) {
      EXPECT_TRUE(contains(outcome.output, part)) << outcome.output;
    }
    EXPECT_FALSE(contains(outcome.output, "hide-features")) << outcome.output;
  }
}

TEST_F(Cli, CheckFitsATerminalAndEndsWithAVerdict) {
  const std::vector<std::string> lines = lines_of(godwit({"check", "--hide-features=ksm"}).output);
  ASSERT_FALSE(lines.empty());
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    EXPECT_LE(lines[i].size(), 100U) << lines[i];
  }
  EXPECT_TRUE(lines.back().starts_with("dump and restore are possible here, without ")) << lines.back();
  EXPECT_TRUE(contains(lines.back(), "ksm")) << lines.back();
}

TEST_F(Cli, CheckSaysWhatIsHidden) {
  const Outcome everything = godwit({"check"});
  EXPECT_EQ(everything.exit_code, 0) << everything.output;
  const Outcome old = godwit({"check", "--hide-features=newer-than-5.15"});
  EXPECT_EQ(old.exit_code, 0) << "5.15 has all that is required\n" << old.output;
  for (const std::string& line : lines_of(old.output)) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() > 1 && words[0] == "pagemap_scan") {
      EXPECT_EQ(words[1], "hidden");
    }
    if (words.size() > 1 && words[0] == "pidfd_getfd") {
      EXPECT_EQ(words[1], "present");
    }
  }
  EXPECT_TRUE(contains(old.output, "pagemap_scan"));
}

TEST_F(Cli, CheckFailsWithoutWhatIsRequired) {
  const Outcome outcome = godwit({"check", "--hide-features=kcmp,openat2"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.output, "godwit: check: required, but not there: kcmp;")) << outcome.output;
  EXPECT_TRUE(contains(outcome.output, "\ndump and restore are not possible here: kcmp missing\n"))
      << outcome.output;
}

TEST_F(Cli, CheckAsJsonIsJson) {
  const Outcome outcome = run({"/bin/sh", "-c",
                               "'" GODWIT_BINARY "' check --json | python3 -c 'import json, sys; "
                               "print(*[f[\"name\"] for f in json.load(sys.stdin)[\"features\"]])'"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_TRUE(contains(outcome.output, "pidfd_getfd kcmp")) << outcome.output;
}

TEST_F(Cli, FailuresAsJsonAreJson) {
  const Outcome outcome = godwit({"restore", "-D", directory_ / "a \"quoted\" name", "--log-format", "json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(outcome.output.starts_with("{\"time\":\"")) << outcome.output;
  EXPECT_TRUE(contains(outcome.output, R"("level":"error","message":"restore: )")) << outcome.output;
  EXPECT_TRUE(contains(outcome.output, R"(a \"quoted\" name)")) << outcome.output;
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
}

TEST_F(Cli, OutputThatCannotBeWrittenIsAFailure) {
  const Outcome outcome = run({"/bin/sh", "-c", "'" GODWIT_BINARY "' check >/dev/full"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.output, "godwit: check: ")) << outcome.output;
}

TEST_F(Cli, DumpOfATaskThatIsGone) {
  const pid_t gone = launch({"/bin/true"});
  ASSERT_EQ(wait_for_end(gone), 0);
  expect_dump_refused(gone, std::to_string(gone));
}

TEST_F(Cli, DumpOfAKernelThread) {
  if (try_read("/proc/2/comm") != "kthreadd\n") {
    GTEST_SKIP() << "no kernel threads are visible in this pid namespace";
  }
  expect_dump_refused(2, "kernel thread");
}

TEST_F(Cli, DumpOfItself) {
  const Outcome outcome =
      run({"/bin/sh", "-c", "exec '" GODWIT_BINARY "' dump -t $$ -D '" + checkpoint_ + "'"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  expect_one_line(outcome, "dump");
  EXPECT_FALSE(exists(checkpoint_));
}

TEST_F(Cli, DumpOfATracedTask) {
  const pid_t traced = launch({"/bin/sleep", "1000"});
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, traced, 0, 0), 0);
  expect_dump_refused(traced, "trace");
  EXPECT_TRUE(comes_to_sleep(traced));
}

TEST_F(Cli, DumpIntoADirectoryThatIsInUse) {
  const pid_t task = launch({"/bin/sleep", "1000"});
  ASSERT_EQ(::mkdir(checkpoint_.c_str(), 0755), 0);
  std::ofstream(checkpoint_ + "/precious") << "content";
  expect_failure({"dump", "-t", std::to_string(task), "-D", checkpoint_}, checkpoint_);
  EXPECT_EQ(try_read(checkpoint_ + "/precious"), "content");
  EXPECT_TRUE(comes_to_sleep(task));
}

TEST_F(Cli, DumpIntoADirectoryThatCannotBeMade) {
  const pid_t task = launch({"/bin/sleep", "1000"});
  expect_failure({"dump", "-t", std::to_string(task), "-D", directory_ / "no/such/place"}, "no/such");
  EXPECT_TRUE(comes_to_sleep(task));
}

TEST_F(Cli, NoCheckpointInThatPlace) {
  std::ofstream(directory_ / "file") << "not a checkpoint";
  ASSERT_EQ(::mkdir((directory_ / "empty").c_str(), 0755), 0);
  for (const std::string& path : {directory_ / "missing", directory_ / "file", directory_ / "empty"}) {
    const std::string pidfile = directory_ / "pid";
    expect_failure({"restore", "-D", path, "--detach", "--pidfile", pidfile}, path);
    EXPECT_FALSE(exists(pidfile));
    expect_failure({"restore", "-D", path, "--plan"}, path);
    expect_failure({"verify", path}, path);
    expect_failure({"inspect", path}, path);
  }
}

}  // namespace
}  // namespace godwit::e2e
