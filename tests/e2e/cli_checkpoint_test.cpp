// What the commands do with a checkpoint that is there: a restore that stays and waits, inspect, verify.
#include <signal.h>
#include <sys/wait.h>

#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

class CliCheckpoint : public testing::Test {
 protected:
  /// Dumps a program once it sleeps, and returns its pid.
  pid_t dumped(const std::vector<std::string>& command, const std::vector<std::string>& options = {}) {
    const pid_t pid = launch(command);
    EXPECT_TRUE(wait_until([&] { return state_of(pid) == 'S'; }));
    const Outcome outcome = dump(pid, checkpoint_, options);
    EXPECT_TRUE(outcome.ok()) << outcome.words();
    // Orphans fall to this process: a restore waits for whoever is to reap them, but not for long.
    EXPECT_TRUE(wait_until([] {
      pid_t reaped = 0;
      do {
        reaped = waitpid(-1, nullptr, WNOHANG);
      } while (reaped > 0);
      return reaped < 0;
    }));
    return pid;
  }

  /// `godwit restore` without --detach, once the tree runs.
  pid_t attached(pid_t root, std::vector<std::string> command = {}) {
    command.insert(command.end(), {GODWIT_BINARY, "restore", "-D", checkpoint_, "--pidfile", pid_file_});
    const pid_t godwit = launch(command);
    EXPECT_TRUE(wait_until([&] { return try_read(pid_file_) == std::to_string(root) + "\n"; }));
    EXPECT_TRUE(wait_until([&] { return state_of(root) == 'S'; }));
    EXPECT_EQ(waitpid(godwit, nullptr, WNOHANG), 0) << "it waits for the root";
    return godwit;
  }

  Reaper reaper_;
  TemporaryDirectory directory_;
  const std::string checkpoint_ = directory_ / "checkpoint";
  const std::string pid_file_ = directory_ / "pid";
};

TEST_F(CliCheckpoint, AnAttachedRestorePassesSignalsOnAndEndsAsTheRootDoes) {
  const pid_t root = dumped({"/bin/sleep", "1000"});
  const pid_t godwit = attached(root);
  ASSERT_EQ(kill(godwit, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(godwit), (128 + SIGTERM) << 8);
  EXPECT_FALSE(state_of(root).has_value());
}

TEST_F(CliCheckpoint, AnAttachedRestorePassesAHangupOnToAll) {
  const pid_t root = dumped({"/bin/sh", "-c", "sleep 1000; exit 1"});
  const pid_t godwit = attached(root);
  const std::vector<pid_t> tree = tree_of(root);
  ASSERT_EQ(tree.size(), 2U);
  ASSERT_EQ(kill(godwit, SIGHUP), 0);
  EXPECT_EQ(wait_for_end(godwit), (128 + SIGHUP) << 8);
  EXPECT_TRUE(wait_until_gone(tree, 5));
}

TEST_F(CliCheckpoint, AnAttachedRestoreIgnoresWhatNohupDoes) {
  const pid_t root = dumped({"/bin/sleep", "1000"});
  const pid_t godwit = attached(root, {"/usr/bin/nohup"});
  ASSERT_EQ(kill(godwit, SIGHUP), 0);
  ASSERT_EQ(kill(godwit, SIGTERM), 0);
  EXPECT_EQ(wait_for_end(godwit), (128 + SIGTERM) << 8);
}

TEST_F(CliCheckpoint, AnAttachedRestoreHasTheRootsExitCode) {
  const pid_t root = dumped({"/bin/sh", "-c", "trap 'exit 7' INT; while :; do sleep 0.02; done"});
  const pid_t godwit = attached(root);
  ASSERT_EQ(kill(godwit, SIGINT), 0);
  EXPECT_EQ(wait_for_end(godwit), 7 << 8);
}

TEST_F(CliCheckpoint, InspectShowsWhatIsThere) {
  const pid_t root = dumped({"/bin/sleep", "1000"});
  const Outcome text = godwit({"inspect", checkpoint_});
  EXPECT_TRUE(text.ok()) << text.words();
  EXPECT_NE(text.output.find(std::to_string(root)), std::string::npos) << text.output;
  const Outcome tasks = godwit({"inspect", checkpoint_, "tasks"});
  EXPECT_TRUE(tasks.ok()) << tasks.words();
  EXPECT_NE(tasks.output.find("sleep"), std::string::npos) << tasks.output;
  const Outcome nothing = godwit({"inspect", checkpoint_, "nests"});
  EXPECT_EQ(nothing.exit_code, 2) << nothing.words();
  const Outcome json =
      run({"/bin/sh", "-c",
           "'" GODWIT_BINARY "' inspect '" + checkpoint_ +
               "' --json | python3 -c 'import json, sys; c = json.load(sys.stdin); "
               "t = c[\"tasks\"][0]; print(t[\"pid\"], len(t[\"threads\"]), len(c[\"tasks\"]), "
               "sorted(d[\"fd\"] for d in c[\"descriptors\"][0][\"descriptors\"]), "
               "any(m[\"grows_down\"] for m in c[\"mappings\"][0][\"mappings\"]))'"});
  EXPECT_EQ(json.output, "[" + std::to_string(root) + "] 1 1 [0, 1, 2] True\n") << json.words();
}

TEST_F(CliCheckpoint, ThePlanNamesFiles) {
  Workload workload("regular_file", 0);
  ASSERT_TRUE(dump(workload.root(), checkpoint_).ok());
  const Outcome plan = godwit({"restore", "-D", checkpoint_, "--plan"});
  EXPECT_TRUE(plan.ok()) << plan.words();
  EXPECT_NE(plan.output.find(": regular file " + workload.directory().path() + "/"), std::string::npos)
      << plan.output;
}

TEST_F(CliCheckpoint, TheJsonOfEachSubjectIsThatOfTheWhole) {
  Workload workload("epoll", 0);
  ASSERT_TRUE(dump(workload.root(), checkpoint_).ok());
  const Outcome compared =
      run({"/usr/bin/python3", "-c",
           "import json, subprocess, sys, time\n"
           "def inspect(*what):\n"
           "  return json.loads(subprocess.check_output([sys.argv[1], 'inspect', sys.argv[2], '--json', "
           "*what]))\n"
           "whole = inspect()\n"
           "assert len(whole) > 10 and whole['tasks'] and whole['epolls'], whole.keys()\n"
           "for name, rows in whole.items():\n"
           "  assert inspect(name) == {name: rows}, name\n"
           "h = whole['checkpoint'][0]\n"
           "assert 0 <= time.time_ns() - h['created_ns'] < 600e9, h\n"
           "assert h['monotonic_ns'] <= time.clock_gettime_ns(time.CLOCK_MONOTONIC), h\n"
           "assert any(w['fd'] == 0 for t in whole['descriptors'] for w in t['descriptors'])\n",
           GODWIT_BINARY, checkpoint_});
  EXPECT_TRUE(compared.ok()) << compared.words();
}

TEST_F(CliCheckpoint, VerifySaysWhetherItIsWhole) {
  dumped({"/bin/sleep", "1000"}, {"--compress", "none"});
  const Outcome good = godwit({"verify", checkpoint_});
  EXPECT_TRUE(good.ok()) << good.words();
  EXPECT_NE(good.output.find("all checksums right"), std::string::npos) << good.output;
  for (const std::string& name : lines_of(run({"/bin/ls", checkpoint_}).output)) {
    SCOPED_TRACE(name);
    const std::string path = checkpoint_ + "/" + name;
    const std::string whole = read_file(path);
    std::string damaged = whole;
    damaged[whole.size() / 2] = static_cast<char>(damaged[whole.size() / 2] ^ 1);
    write_text(path, damaged);
    const Outcome bad = godwit({"verify", checkpoint_});
    EXPECT_EQ(bad.exit_code, 1) << bad.words();
    EXPECT_TRUE(bad.output.starts_with("godwit: verify: ")) << bad.output;
    EXPECT_EQ(lines_of(bad.output).size(), 1U) << bad.output;
    write_text(path, whole);
  }
  EXPECT_TRUE(godwit({"verify", checkpoint_}).ok());
}

TEST_F(CliCheckpoint, WithoutCompressionItIsLargerAndTheSame) {
  Workload workload("memory", 0);
  const auto size_of = [&](const std::string& directory) {
    return std::stol(words_of(run({"/usr/bin/du", "-sk", directory}).output)[0]);
  };
  ASSERT_TRUE(dump(workload.root(), directory_ / "small", {"--compress", "zstd", "--leave-running"}).ok());
  ASSERT_TRUE(dump(workload.root(), checkpoint_, {"--compress", "none"}).ok());
  EXPECT_GT(size_of(checkpoint_), 2 * size_of(directory_ / "small"));
  const Restored restored = restore(checkpoint_);
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace

}  // namespace godwit::e2e
