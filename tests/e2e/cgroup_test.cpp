// The cgroups of a tree: which task and thread is in which, and the cgroups themselves.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "kernel/error.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/round_trip.h"
#include "tests/e2e/scratch_cgroup.h"

namespace godwit::e2e {
namespace {

constexpr const char* kMount = "/sys/fs/cgroup/";

/// Of each thread of a tree the lines of its cgroup file. Zombies are where their parents are.
std::map<pid_t, std::string> cgroups_of(const std::vector<pid_t>& tree) {
  std::map<pid_t, std::string> found;
  for (const pid_t pid : tree) {
    if (state_of(pid) == 'Z') {
      continue;
    }
    for (const pid_t tid : numbers_in(fmt::format("/proc/{}/task", pid))) {
      found[tid] = try_read(fmt::format("/proc/{}/task/{}/cgroup", pid, tid)).value_or("");
    }
  }
  return found;
}

void write_to(const std::string& file, const std::string& value) {
  std::ofstream stream(file);
  stream << value << std::flush;
  ASSERT_TRUE(stream.good()) << "cannot write " << value << " to " << file;
}

/// Cgroups of the same names in several hierarchies, gone with the test.
class Cgroups : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* hierarchy : {"pids", "memory", "unified"}) {
      if (::access((std::string(kMount) + hierarchy + "/cgroup.procs").c_str(), F_OK) != 0) {
        GTEST_SKIP() << "this machine has no cgroups at " << kMount << hierarchy;
      }
    }
  }
  void TearDown() override {
    for (const pid_t pid : descendants()) {
      ::kill(pid, SIGKILL);
    }
    EXPECT_TRUE(wait_until(
        [&] {
          remove_cgroups(name_);
          remove_cgroups(other_);
          return left().empty();
        },
        10))
        << joined(left());
  }

  [[nodiscard]] std::string at(const std::string& hierarchy, const std::string& path = "") const {
    return kMount + hierarchy + "/" + name_ + path;
  }
  void make(const std::vector<std::string>& paths) const {
    for (const char* hierarchy : {"pids", "memory", "unified"}) {
      for (const std::string& path : paths) {
        ASSERT_EQ(::mkdir(at(hierarchy, path).c_str(), 0755), 0) << at(hierarchy, path);
      }
    }
  }
  void put(pid_t pid, const std::string& path) const {
    for (const char* hierarchy : {"pids", "memory", "unified"}) {
      write_to(at(hierarchy, path) + "/cgroup.procs", std::to_string(pid));
    }
  }
  /// Directories of the test's that exist.
  [[nodiscard]] std::vector<std::string> left() const {
    std::vector<std::string> found;
    for (const auto& hierarchy : std::filesystem::directory_iterator(kMount)) {
      for (const std::string& name : {name_, other_}) {
        const std::string top = hierarchy.path() / name;
        if (::access(top.c_str(), F_OK) != 0) {
          continue;
        }
        found.push_back(top);
        for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
          if (entry.is_directory()) {
            found.push_back(entry.path());
          }
        }
      }
    }
    std::ranges::sort(found);
    return found;
  }
  void remove_all() {
    ASSERT_TRUE(wait_until(
        [&] {
          remove_cgroups(name_);
          return left().empty();
        },
        10))
        << joined(left());
  }

  const std::string name_ = "godwit-test-" + std::to_string(::getpid());
  const std::string other_ = name_ + "-other";
  Reaper reaper_;
  TemporaryDirectory images_;
};

/// Tasks in three levels of cgroups, one nobody is in, and other owners.
class CgroupTrees : public Cgroups {
 protected:
  void start() {
    ASSERT_NO_FATAL_FAILURE(make({"", "/a", "/a/b", "/empty", "/strangers"}));
    ASSERT_EQ(::chown(at("unified", "/a").c_str(), kOtherUser, kOtherUser), 0);
    ASSERT_EQ(::chmod(at("memory", "/a/b").c_str(), 0750), 0);
    workload_.emplace("tree", 0);
    tree_ = tree_of(workload_->root());
    ASSERT_GT(tree_.size(), 10U);
    const char* const places[] = {"", "/a", "/a/b"};
    for (size_t i = 0; i < tree_.size(); ++i) {
      // Not all hierarchies alike, and the root in the topmost.
      put(tree_[i], places[i == 0 ? 0 : i % 3]);
      if (i % 4 == 3) {
        write_to(at("pids", "/a") + "/cgroup.procs", std::to_string(tree_[i]));
      }
    }
    stranger_ = launch({"/bin/sleep", "1000"});
    put(stranger_, "/strangers");
    before_ = cgroups_of(tree_);
    directories_ = left();
  }
  void end_stranger() {
    ::kill(stranger_, SIGKILL);
    ASSERT_NE(wait_for_end(stranger_), -1);
  }

  std::optional<Workload> workload_;
  std::vector<pid_t> tree_;
  pid_t stranger_ = 0;
  std::map<pid_t, std::string> before_;
  std::vector<std::string> directories_;
};

TEST_F(CgroupTrees, AreMadeAgain) {
  ASSERT_NO_FATAL_FAILURE(start());
  std::erase_if(directories_, [](const std::string& one) { return one.ends_with("/strangers"); });
  bool stranger = true;
  for (const char* mode : {"soft", "full", "strict", "soft"}) {
    SCOPED_TRACE(mode);
    const std::string image = images_ / (std::string(mode) + (stranger ? "1" : ""));
    const Outcome dumped = dump(workload_->root(), image, {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    if (stranger) {
      end_stranger();
      stranger = false;
    }
    ASSERT_NO_FATAL_FAILURE(remove_all());
    const Restored restored = restore(image, {std::string("--manage-cgroups=") + mode});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(cgroups_of(tree_), before_);
    EXPECT_EQ(left(), directories_);
    struct stat status {};
    ASSERT_EQ(::stat(at("unified", "/a").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, kOtherUser);
    ASSERT_EQ(::stat(at("memory", "/a/b").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0750U);
    std::filesystem::remove_all(image);
  }
  EXPECT_EQ(workload_->verdict(), "pass");
}

TEST_F(CgroupTrees, AreEnteredWhereTheyExist) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* mode : {"none", "props", "soft", "full"}) {
    SCOPED_TRACE(mode);
    const Outcome dumped = dump(workload_->root(), images_ / mode, {std::string("--manage-cgroups=") + mode});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    const Restored restored = restore(images_ / mode, {std::string("--manage-cgroups=") + mode});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(cgroups_of(tree_), before_);
  }
  EXPECT_EQ(left(), directories_);
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// Those that must exist and don't, or the other way round.
TEST_F(CgroupTrees, AreRefusedByTheMode) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Outcome dumped = dump(workload_->root(), images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored strict = restore(images_ / "1", {"--manage-cgroups=strict"});
  EXPECT_EQ(strict.outcome.exit_code, 1);
  EXPECT_NE(strict.outcome.output.find("exists already"), std::string::npos) << strict.outcome.words();
  EXPECT_EQ(left(), directories_);
  ASSERT_NO_FATAL_FAILURE(end_stranger());
  ASSERT_NO_FATAL_FAILURE(remove_all());
  for (const char* mode : {"none", "props"}) {
    const Restored restored = restore(images_ / "1", {std::string("--manage-cgroups=") + mode});
    EXPECT_EQ(restored.outcome.exit_code, 1);
    EXPECT_NE(restored.outcome.output.find("doesn't exist"), std::string::npos) << restored.outcome.words();
    EXPECT_TRUE(left().empty()) << joined(left());
  }
  const Restored restored = restore(images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload_->verdict(), "pass");
}

TEST_F(CgroupTrees, MoveToAnotherRoot) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Outcome dumped = dump(workload_->root(), images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const Restored restored = restore(
      images_ / "1", {"--manage-cgroups", "--cgroup-root", "memory:/" + other_ + "/x", "--cgroup-root",
                      ":/" + other_ + "/x", "--cgroup-root", "pids:/" + other_ + "/y"});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  for (auto& [tid, lines] : before_) {
    std::string moved;
    for (std::string line : lines_of(lines)) {
      if (const size_t name = line.find("/" + name_); name != std::string::npos) {
        line.replace(name, name_.size() + 1,
                     "/" + other_ + (line.find(":pids:") != std::string::npos ? "/y" : "/x"));
      }
      moved += line + "\n";
    }
    lines = moved;
  }
  EXPECT_EQ(cgroups_of(tree_), before_);
  EXPECT_EQ(workload_->verdict(), "pass");
}

TEST_F(CgroupTrees, GoWithARestoreThatFails) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Outcome dumped = dump(workload_->root(), images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  ASSERT_NO_FATAL_FAILURE(end_stranger());
  ASSERT_NO_FATAL_FAILURE(remove_all());
  const Outcome failed = run({GODWIT_BINARY, "restore", "-D", images_ / "1", "--manage-cgroups", "--detach",
                              "--pidfile", images_ / "no/such/directory"});
  EXPECT_EQ(failed.exit_code, 1) << failed.words();
  EXPECT_TRUE(left().empty()) << joined(left());
  const Restored restored = restore(images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// Each thread by itself: version 1 by "tasks", version 2 in threaded cgroups.
TEST_F(Cgroups, OfThreads) {
  ASSERT_NO_FATAL_FAILURE(make({"", "/one", "/two"}));
  Workload workload("threads", 0);
  const pid_t root = workload.root();
  put(root, "");
  write_to(at("unified", "/one") + "/cgroup.type", "threaded");
  write_to(at("unified", "/two") + "/cgroup.type", "threaded");
  const std::vector<int> threads = numbers_in(fmt::format("/proc/{}/task", root));
  ASSERT_GT(threads.size(), 2U);
  for (size_t i = 1; i < threads.size(); ++i) {
    const std::string place = i % 3 == 0 ? "" : i % 3 == 1 ? "/one" : "/two";
    write_to(at("unified", place) + "/cgroup.threads", std::to_string(threads[i]));
    write_to(at("pids", place) + "/tasks", std::to_string(threads[i]));
    write_to(at("memory", i % 2 == 0 ? "" : "/two") + "/tasks", std::to_string(threads[i]));
  }
  const std::map<pid_t, std::string> before = cgroups_of({root});
  for (const char* image : {"1", "2"}) {
    const Outcome dumped = dump(root, images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NO_FATAL_FAILURE(remove_all());
    const Restored restored = restore(images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(cgroups_of({root}), before);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

/// A namespace whose first task has gone deeper since, as an init system does.
TEST_F(Cgroups, OfANamespaceWithItsRootAbove) {
  ASSERT_NO_FATAL_FAILURE(make({"", "/init"}));
  LaunchOptions options;
  options.in_child = [this] {
    put(::getpid(), "");
    if (::unshare(CLONE_NEWCGROUP) != 0) {
      _exit(1);
    }
    put(::getpid(), "/init");
  };
  Workload workload("heartbeat", 0, {}, options);
  const auto inside = [&] {
    return run({"/usr/bin/nsenter", "-C", "-t", std::to_string(workload.root()), "cat",
                fmt::format("/proc/{}/cgroup", workload.root())})
        .output;
  };
  const std::string before = inside();
  ASSERT_NE(before.find(":pids:/init\n"), std::string::npos) << before;
  const std::map<pid_t, std::string> outside = cgroups_of({workload.root()});

  const Outcome refused = dump(workload.root(), images_ / "0");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.output.find("--manage-cgroups keeps them"), std::string::npos) << refused.words();
  for (const char* image : {"1", "2"}) {
    const Outcome dumped = dump(workload.root(), images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NO_FATAL_FAILURE(remove_all());
    const Restored restored = restore(images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(inside(), before);
    EXPECT_EQ(cgroups_of({workload.root()}), outside);
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

}  // namespace
}  // namespace godwit::e2e
