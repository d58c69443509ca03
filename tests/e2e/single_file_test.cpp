// A checkpoint as one file, and through pipes: nothing is lost, whoever dies.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <span>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/e2e/pipeline.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

void expect_same(const Snapshot& before, pid_t root) {
  const std::vector<std::string> differences = compare_now(before, root);
  EXPECT_TRUE(differences.empty()) << joined(differences);
}

std::vector<std::string> names_in(const std::string& directory) {
  return lines_of(run({"/bin/ls", "-A", directory}).output);
}

class OneFile : public testing::Test {
 protected:
  /// `godwit dump -t ROOT ARGUMENTS | COMMAND`; "GODWIT" in it is the program. TMPDIR is an empty directory.
  Outcome dump_to(pid_t root, const std::string& command, const std::string& arguments = "") {
    return run_pipeline(root, fmt::format("GODWIT dump -t {} -o - {} | {}", root, arguments, command),
                        copies_.path());
  }

  [[nodiscard]] std::string restore_command() const {
    return "GODWIT restore -i - --detach --pidfile '" + images_ / "pid" + "'";
  }
  [[nodiscard]] pid_t restored() const { return atoi(try_read(images_ / "pid").value_or("0").c_str()); }

  /// What is left of a restore that went well.
  void expect_no_copies() const { EXPECT_EQ(names_in(copies_.path()), std::vector<std::string>()); }

  Reaper reaper_;
  TemporaryDirectory images_;
  TemporaryDirectory copies_;
  const std::string file_ = images_ / "checkpoint";
};

class OneFileOf : public OneFile, public testing::WithParamInterface<const char*> {};

TEST_P(OneFileOf, AFileIsRestored) {
  Workload workload(GetParam(), kOtherUser);
  const Snapshot before = observe_at_rest(workload.root());
  for (const char* codec : {"none", "zstd"}) {
    SCOPED_TRACE(codec);
    const Outcome dumped = dump_to_file(workload.root(), file_, {"--compress", codec});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    EXPECT_EQ(names_in(images_.path()), std::vector<std::string>{"checkpoint"});
    const Outcome verified = godwit({"verify", file_});
    EXPECT_TRUE(verified.ok()) << verified.words();
    const Restored restored = restore_from_file(file_);
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    ASSERT_EQ(restored.root, workload.root());
    expect_same(before, workload.root());
    ASSERT_EQ(unlink(file_.c_str()), 0);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_P(OneFileOf, APipeCarriesItFromDumpToRestore) {
  Workload workload(GetParam(), kOtherUser);
  const Snapshot before = observe_at_rest(workload.root());
  for (const char* codec : {"--compress none", "--compress zstd"}) {
    SCOPED_TRACE(codec);
    const Outcome outcome = dump_to(workload.root(), restore_command(), codec);
    ASSERT_TRUE(outcome.ok()) << outcome.words();
    ASSERT_EQ(restored(), workload.root());
    expect_same(before, workload.root());
    expect_no_copies();
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

INSTANTIATE_TEST_SUITE_P(Workloads, OneFileOf,
                         testing::Values("memory", "cow", "many_descriptors", "tree", "memfd"),
                         [](const testing::TestParamInfo<const char*>& one) {
                           return std::string(one.param);
                         });

TEST_F(OneFile, AStreamIsAFile) {
  Workload workload("memory", 0);
  const Snapshot before = observe_at_rest(workload.root());
  // Into a file by the shell, and from one; between two programs that know nothing of it.
  Outcome outcome = run_pipeline(
      workload.root(), fmt::format("GODWIT dump -t {} -o - > '{}'", workload.root(), file_), copies_.path());
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  EXPECT_TRUE(godwit({"verify", file_}).ok());
  EXPECT_TRUE(godwit({"inspect", file_, "tasks"}).ok());
  outcome = run_pipeline(workload.root(), restore_command() + " < '" + file_ + "'", copies_.path());
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  expect_same(before, workload.root());
  outcome = dump_to(workload.root(), "gzip -1 | gzip -d | " + restore_command());
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  expect_same(before, workload.root());
  expect_no_copies();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Whenever the reader goes before it has read the last byte.
TEST_F(OneFile, AReaderThatDiesLeavesTheTreeRunning) {
  Workload workload("memory", 0);
  const Snapshot before = observe_at_rest(workload.root());
  for (const char* reader :
       {"true", "head -c 1 > /dev/null", "head -c 1000000 > /dev/null",
        "GODWIT restore -i - --plan > /dev/null", "GODWIT restore -i - --pidfile /no/directory/pid"}) {
    SCOPED_TRACE(reader);
    const Outcome outcome = dump_to(workload.root(), reader);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    EXPECT_NE(outcome.output.find("Broken pipe"), std::string::npos) << outcome.words();
    expect_same(before, workload.root());
    expect_no_copies();
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(OneFile, ARestoreWithoutRoomLeavesTheTreeRunning) {
  Workload workload("memory", 0);
  const Snapshot before = observe_at_rest(workload.root());
  ASSERT_EQ(mount("none", copies_.path().c_str(), "tmpfs", 0, "size=3m"), 0);
  const Outcome outcome = dump_to(workload.root(), restore_command());
  ASSERT_EQ(umount(copies_.path().c_str()), 0);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_NE(outcome.output.find("No space left on device"), std::string::npos) << outcome.words();
  EXPECT_NE(outcome.output.find("Broken pipe"), std::string::npos) << outcome.words();
  expect_same(before, workload.root());
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(OneFile, ASignalEndsARestoreThatNobodyWritesTo) {
  const std::string fifo = images_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const Fd both = open_file(fifo, O_RDWR);
  LaunchOptions options;
  options.environment.push_back("TMPDIR=" + copies_.path());
  const pid_t restoring = launch({GODWIT_BINARY, "restore", "-i", fifo}, options);
  const std::string part(100, 'x');
  write_all(both.get(), std::as_bytes(std::span(part)), fifo);
  int unread = -1;
  EXPECT_TRUE(wait_until([&] { return ioctl(both.get(), FIONREAD, &unread) == 0 && unread == 0; }));
  ASSERT_EQ(kill(restoring, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(restoring), 1 << 8);
  expect_no_copies();
}

/// Nobody reads: the dump waits, and can be told to stop.
TEST_F(OneFile, ASignalEndsADumpThatNobodyReads) {
  Workload workload("memory", 0);
  const Snapshot before = observe_at_rest(workload.root());
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd from(ends[0]);
  Fd to(ends[1]);
  LaunchOptions options;
  options.output = images_ / "errors";
  options.in_child = [&] {
    if (dup2(to.get(), STDOUT_FILENO) < 0) {
      _exit(1);
    }
  };
  const pid_t dumping =
      launch({GODWIT_BINARY, "dump", "-t", std::to_string(workload.root()), "-o", "-"}, options);
  to.reset();
  int unread = 0;
  int before_unread = -1;
  // Until the pipe is full.
  ASSERT_TRUE(wait_until([&] {
    before_unread = unread;
    return ioctl(from.get(), FIONREAD, &unread) == 0 && unread > 0 && unread == before_unread &&
           state_of(dumping) == 'S';
  }));
  ASSERT_EQ(kill(dumping, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(dumping), 1 << 8);
  EXPECT_NE(try_read(options.output).value_or("").find("interrupted by SIGTERM"), std::string::npos);
  expect_same(before, workload.root());
  EXPECT_EQ(workload.verdict(), "pass");
}

/// What came through the pipe is all there is of the tree.
TEST_F(OneFile, ARestoreThatFailsKeepsWhatCameThroughThePipe) {
  Workload workload("file_mappings", 0);
  ASSERT_TRUE(dump_to_file(workload.root(), file_).ok());
  const std::string needed = workload.directory() / "private";
  const std::string aside = workload.directory() / "aside";
  ASSERT_EQ(rename(needed.c_str(), aside.c_str()), 0);
  const Outcome outcome =
      run_pipeline(workload.root(), "cat '" + file_ + "' | " + restore_command(), copies_.path());
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  const std::vector<std::string> kept = names_in(copies_.path());
  ASSERT_EQ(kept.size(), 1U) << outcome.words();
  const std::string copy = copies_ / kept.front();
  EXPECT_NE(outcome.output.find("kept as " + copy), std::string::npos) << outcome.words();
  EXPECT_TRUE(run({"/usr/bin/cmp", file_, copy}).ok());
  ASSERT_EQ(rename(aside.c_str(), needed.c_str()), 0);
  const Restored again = restore_from_file(copy);
  ASSERT_TRUE(again.outcome.ok()) << again.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// So does one that is killed when it has read it all, but waits for the end of the dump.
TEST_F(OneFile, ARestoreThatIsKilledKeepsWhatCameThroughThePipe) {
  Workload workload("heartbeat", 0);
  ASSERT_TRUE(dump_to_file(workload.root(), file_).ok());
  const std::string fifo = images_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  LaunchOptions options;
  options.environment.push_back("TMPDIR=" + copies_.path());
  const pid_t restoring = launch({GODWIT_BINARY, "restore", "-i", fifo}, options);
  const Fd to = open_file(fifo, O_WRONLY);
  const std::string content = read_file(file_);
  write_all(to.get(), std::as_bytes(std::span(content)).first(content.size() - 1), fifo);
  int unread = -1;
  EXPECT_TRUE(wait_until([&] { return ioctl(to.get(), FIONREAD, &unread) == 0 && unread == 0; }));
  write_all(to.get(), std::as_bytes(std::span(content)).last(1), fifo);
  EXPECT_TRUE(wait_until([&] { return ioctl(to.get(), FIONREAD, &unread) == 0 && unread == 0; }));
  EXPECT_TRUE(descendants() == std::vector<pid_t>{restoring}) << "the stream hasn't come to its end";
  ASSERT_EQ(kill(restoring, SIGKILL), 0);
  EXPECT_EQ(wait_for_end(restoring), SIGKILL);
  ASSERT_EQ(names_in(copies_.path()).size(), 1U);
  const std::string copy = copies_ / names_in(copies_.path()).front();
  EXPECT_TRUE(run({"/usr/bin/cmp", file_, copy}).ok());
  const Restored again = restore_from_file(copy);
  ASSERT_TRUE(again.outcome.ok()) << again.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(OneFile, AStreamThatIsCutIsRefused) {
  Workload workload("heartbeat", 0);
  ASSERT_TRUE(dump_to_file(workload.root(), file_).ok());
  struct stat status {};
  ASSERT_EQ(stat(file_.c_str(), &status), 0);
  for (const long lost :
       {4097L, 8192L, 8193L, static_cast<long>(status.st_size / 2), static_cast<long>(status.st_size)}) {
    const Outcome outcome = run_pipeline(
        workload.root(), fmt::format("head -c {} '{}' | {}", status.st_size - lost, file_, restore_command()),
        copies_.path());
    EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
    EXPECT_NE(outcome.output.find("incomplete"), std::string::npos) << outcome.words();
    EXPECT_TRUE(descendants().empty());
    expect_no_copies();
  }
  const Restored restored = restore_from_file(file_);
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// The dump has been ended between its last page and the tree's end: what it left in the pipe isn't made a
/// second tree beside the first. (In a pid namespace of its own no number is taken.)
TEST_F(OneFile, ADumpThatIsEndedLeavesOneTree) {
  for (const int signal : {SIGTERM, SIGKILL}) {
    SCOPED_TRACE(strsignal(signal));
    LaunchOptions namespaces;
    namespaces.namespaces = CLONE_NEWPID;
    Workload workload("pid_namespace", 0, {}, namespaces);
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const Fd from(ends[0]);
    Fd to(ends[1]);
    LaunchOptions options;
    options.output = images_ / "errors";
    options.in_child = [&] {
      if (dup2(to.get(), STDOUT_FILENO) < 0) {
        _exit(1);
      }
    };
    const pid_t dumping =
        launch({GODWIT_BINARY, "dump", "-t", std::to_string(workload.root()), "-o", "-"}, options);
    to.reset();
    // All of it fits into the pipe; the dump waits until it has been read.
    int unread = 0;
    int before = -1;
    ASSERT_TRUE(wait_until([&] {
      before = unread;
      return ioctl(from.get(), FIONREAD, &unread) == 0 && unread > 0 && unread == before &&
             state_of(dumping) == 'S';
    }));
    ASSERT_EQ(kill(dumping, signal), 0);
    EXPECT_NE(wait_for_end(dumping), 0);
    const std::vector<pid_t> tree = tree_of(workload.root());
    LaunchOptions reading;
    reading.output = images_ / "restore";
    reading.environment.push_back("TMPDIR=" + copies_.path());
    reading.in_child = [&] {
      if (dup2(from.get(), STDIN_FILENO) < 0) {
        _exit(1);
      }
    };
    EXPECT_EQ(wait_for_end(launch({GODWIT_BINARY, "restore", "-i", "-", "--detach"}, reading)), 1 << 8);
    const std::string said = try_read(reading.output).value_or("");
    EXPECT_NE(said.find("may still run"), std::string::npos) << said;
    EXPECT_EQ(tree_of(workload.root()), tree);
    EXPECT_EQ(descendants().size(), tree.size()) << "there is one tree";
    EXPECT_EQ(names_in(copies_.path()).size(), 1U) << "the copy is kept";
    unlink((copies_ / names_in(copies_.path()).front()).c_str());
    EXPECT_EQ(workload.verdict(), "pass");
  }
}

TEST_F(OneFile, LeavesTheTreeIfAskedTo) {
  Workload workload("heartbeat", 0);
  const Snapshot before = observe_at_rest(workload.root());
  Outcome outcome = dump_to(workload.root(), "cat > '" + file_ + "'", "--leave-running");
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  EXPECT_TRUE(godwit({"verify", file_}).ok());
  expect_same(before, workload.root());
  outcome = dump_to(workload.root(), "cat > /dev/null", "--leave-stopped");
  ASSERT_TRUE(outcome.ok()) << outcome.words();
  EXPECT_EQ(state_of(workload.root()), 'T');
  for (const pid_t pid : tree_of(workload.root())) {
    ASSERT_EQ(kill(pid, SIGCONT), 0);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(OneFile, WhatCannotBeKeptIsRefused) {
  Workload workload("heartbeat", 0);
  const Snapshot before = observe_at_rest(workload.root());
  write_text(file_, "precious");
  Outcome outcome = dump_to_file(workload.root(), file_);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_NE(outcome.output.find(file_ + " exists"), std::string::npos) << outcome.words();
  EXPECT_EQ(try_read(file_), "precious");
  outcome = run_pipeline(workload.root(), fmt::format("GODWIT dump -t {} -o - > /dev/null", workload.root()),
                         copies_.path());
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_NE(outcome.output.find("is a device"), std::string::npos) << outcome.words();
  EXPECT_EQ(godwit({"restore", "-i", images_.path()}).exit_code, 1);
  EXPECT_EQ(godwit({"restore", "-i", file_}).exit_code, 1);
  expect_same(before, workload.root());
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
