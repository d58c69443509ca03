// The cgroups of a tree: which task and thread is in which, and the cgroups themselves.
#include <fcntl.h>
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
constexpr const char* kHierarchies[] = {"pids", "memory", "unified"};

/// Where a pid file can't be written, which is found out when all is built.
constexpr const char* kNoPlaceForAPid = "/proc/godwit.pid";

/// Files that say what a cgroup is like, not how it does.
constexpr const char* kProperties[] = {
    "notify_on_release",
    "cgroup.clone_children",
    "pids.max",
    "memory.limit_in_bytes",
    "memory.swappiness",
    "memory.soft_limit_in_bytes",
    "memory.oom_control",
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.memory_migrate",
    "blkio.bfq.weight",
    "devices.list",
    "blkio.throttle.read_bps_device",
    "freezer.self_freezing",
    "blkio.throttle.write_iops_device",
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.freeze",
    "cgroup.pressure",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
};

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
    for (const char* hierarchy : kHierarchies) {
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
    for (const char* hierarchy : kHierarchies) {
      for (const std::string& path : paths) {
        ASSERT_EQ(::mkdir(at(hierarchy, path).c_str(), 0755), 0) << at(hierarchy, path);
      }
    }
  }
  void put(pid_t pid, const std::string& path) const {
    for (const char* hierarchy : kHierarchies) {
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

/// By file.
using Properties = std::map<std::string, std::string>;

Properties properties_of(const std::vector<std::string>& directories) {
  Properties found;
  for (const std::string& directory : directories) {
    for (const char* name : kProperties) {
      const std::string file = directory + "/" + name;
      if (const auto value = try_read(file)) {
        struct stat status {};
        EXPECT_EQ(::stat(file.c_str(), &status), 0);
        found[file] = fmt::format("{}:{} {:o} {}", status.st_uid, status.st_gid, status.st_mode, *value);
      }
    }
  }
  return found;
}

std::string difference(const Properties& before, const Properties& after) {
  std::string text;
  for (const auto& [file, value] : before) {
    const auto now = after.find(file);
    if (now == after.end() || now->second != value) {
      text += fmt::format("{}: was {}, is {}\n", file, value, now == after.end() ? "gone" : now->second);
    }
  }
  return text + (before.size() != after.size() ? "files\n" : "");
}

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
                              "--pidfile", kNoPlaceForAPid});
  EXPECT_EQ(failed.exit_code, 1) << failed.words();
  EXPECT_TRUE(left().empty()) << joined(left());
  const Restored restored = restore(images_ / "1", {"--manage-cgroups"});
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// A tree in cgroups of all hierarchies that have limits, two levels deep.
class CgroupLimits : public Cgroups {
 protected:
  void start() {
    for (const auto& hierarchy : std::filesystem::directory_iterator(kMount)) {
      hierarchies_.push_back(hierarchy.path().filename());
      if (::access((hierarchy.path() / "cgroup.procs").c_str(), F_OK) != 0) {
        hierarchies_.pop_back();
      }
    }
    for (const std::string& hierarchy : hierarchies_) {
      for (const char* path : {"", "/inner"}) {
        if (hierarchy != "devices") {
          ASSERT_EQ(::mkdir(at(hierarchy, path).c_str(), 0755), 0);
        }
      }
    }
    set("pids", "", "pids.max", "400");
    set("pids", "/inner", "pids.max", "300");
    set("pids", "", "notify_on_release", "1");
    set("memory", "", "memory.limit_in_bytes", "512M");
    set("memory", "/inner", "memory.limit_in_bytes", "256M");
    set("memory", "/inner", "memory.soft_limit_in_bytes", "128M");
    set("memory", "/inner", "memory.swappiness", "7");
    set("memory", "/inner", "memory.oom_control", "1");
    set("cpu", "", "cpu.cfs_period_us", "200000");
    set("cpu", "", "cpu.cfs_quota_us", "150000");
    set("cpu", "/inner", "cpu.cfs_quota_us", "50000");
    set("cpu", "/inner", "cpu.shares", "512");
    for (const char* path : {"", "/inner"}) {
      set("cpuset", path, "cpuset.cpus", "0");
      set("cpuset", path, "cpuset.mems", "0");
    }
    set("cpuset", "/inner", "cpuset.memory_migrate", "1");
    set("blkio", "/inner", "blkio.bfq.weight", "321");
    set("blkio", "", "blkio.throttle.read_bps_device", disk() + " 104857600");
    set("blkio", "", "blkio.throttle.write_iops_device", disk() + " 10000");
    ASSERT_EQ(::mkdir(at("devices").c_str(), 0755), 0);
    set("devices", "", "devices.deny", "a");  // not while there is one below
    for (const char* device : {"c 1:* rwm", "c 5:* rwm", "c 136:* rw", "b *:* m"}) {
      set("devices", "", "devices.allow", device);
    }
    ASSERT_EQ(::mkdir(at("devices", "/inner").c_str(), 0755), 0);
    set("devices", "/inner", "devices.deny", "c 5:* rwm");
    set("devices", "/inner", "devices.deny", "b *:* m");
    set("unified", "", "cgroup.max.depth", "4");
    set("unified", "", "cgroup.max.descendants", "9");
    set("unified", "/inner", "cgroup.pressure", "0");
    ASSERT_EQ(::chown((at("unified", "/inner") + "/cgroup.procs").c_str(), kOtherUser, kOtherUser), 0);
    ASSERT_EQ(::chown((at("unified", "/inner") + "/cgroup.max.depth").c_str(), kOtherUser, kOtherUser), 0);
    ASSERT_EQ(::chmod((at("pids", "/inner") + "/pids.max").c_str(), 0600), 0);
    workload_.emplace("tree", 0);
    tree_ = tree_of(workload_->root());
    for (size_t i = 0; i < tree_.size(); ++i) {
      for (const std::string& hierarchy : hierarchies_) {
        write_to(at(hierarchy, i % 2 == 0 ? "" : "/inner") + "/cgroup.procs", std::to_string(tree_[i]));
      }
    }
    cgroups_ = cgroups_of(tree_);
    properties_ = properties_of(left());
    ASSERT_GT(properties_.size(), 50U);
  }

  void set(const std::string& hierarchy, const std::string& path, const std::string& file,
           const std::string& value) const {
    write_to(at(hierarchy, path) + "/" + file, value);
  }
  static std::string disk() {
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block")) {
      if (::access((entry.path() / "device").c_str(), F_OK) == 0) {
        const std::string text = try_read(entry.path() / "dev").value_or("");
        return text.substr(0, text.find('\n'));
      }
    }
    return "7:0";
  }

  void restore_with(const std::string& mode) {
    const Restored restored = restore(images_ / "1", {"--manage-cgroups=" + mode});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(restored.outcome.output.find("warning"), std::string::npos) << restored.outcome.words();
    EXPECT_EQ(cgroups_of(tree_), cgroups_);
  }

  std::vector<std::string> hierarchies_;
  std::optional<Workload> workload_;
  std::vector<pid_t> tree_;
  std::map<pid_t, std::string> cgroups_;
  Properties properties_;
};

TEST_F(CgroupLimits, AreMadeAgain) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* mode : {"soft", "full", "strict"}) {
    SCOPED_TRACE(mode);
    const Outcome dumped = dump(workload_->root(), images_ / "1", {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NO_FATAL_FAILURE(remove_all());
    ASSERT_NO_FATAL_FAILURE(restore_with(mode));
    EXPECT_EQ(difference(properties_, properties_of(left())), "");
    std::filesystem::remove_all(images_ / "1");
  }
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// In cgroups that exist by now with other limits.
TEST_F(CgroupLimits, AreSetOrLeftByTheMode) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (const char* mode : {"none", "soft", "props", "full"}) {
    SCOPED_TRACE(mode);
    const Outcome dumped = dump(workload_->root(), images_ / "1", {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    set("pids", "", "pids.max", "max");
    set("memory", "/inner", "memory.limit_in_bytes", "64M");
    set("memory", "/inner", "memory.oom_control", "0");
    set("cpu", "/inner", "cpu.cfs_quota_us", "-1");
    set("cpu", "", "cpu.cfs_quota_us", "-1");
    set("cpu", "", "cpu.cfs_period_us", "50000");
    set("blkio", "", "blkio.throttle.read_bps_device", disk() + " 0");
    set("blkio", "/inner", "blkio.throttle.write_bps_device", disk() + " 77777");
    set("devices", "/inner", "devices.allow", "c 5:* rwm");
    set("devices", "/inner", "devices.deny", "c 136:* rw");
    set("unified", "", "cgroup.max.depth", "max");
    const Properties changed = properties_of(left());
    // What fails sets back what it had set.
    const Outcome failed = run({GODWIT_BINARY, "restore", "-D", images_ / "1", "--detach", "--pidfile",
                                kNoPlaceForAPid, std::string("--manage-cgroups=") + mode});
    EXPECT_EQ(failed.exit_code, 1) << failed.words();
    EXPECT_EQ(difference(changed, properties_of(left())), "");
    ASSERT_NO_FATAL_FAILURE(restore_with(mode));
    const bool sets = mode == std::string("props") || mode == std::string("full");
    EXPECT_EQ(difference(sets ? properties_ : changed, properties_of(left())), "");
    if (!sets) {  // so that the next dump finds what it should
      set("cpu", "", "cpu.cfs_period_us", "200000");
      set("cpu", "", "cpu.cfs_quota_us", "150000");
      set("cpu", "/inner", "cpu.cfs_quota_us", "50000");
      set("pids", "", "pids.max", "400");
      set("memory", "/inner", "memory.limit_in_bytes", "256M");
      set("memory", "/inner", "memory.oom_control", "1");
      set("blkio", "", "blkio.throttle.read_bps_device", disk() + " 104857600");
      set("blkio", "/inner", "blkio.throttle.write_bps_device", disk() + " 0");
      set("devices", "/inner", "devices.deny", "c 5:* rwm");
      set("devices", "/inner", "devices.allow", "c 136:* rw");
      set("unified", "", "cgroup.max.depth", "4");
    }
    std::filesystem::remove_all(images_ / "1");
  }
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// None of these is asked for when cgroups are left alone.
TEST_F(CgroupLimits, AreNoMatterOfADumpThatIgnoresThem) {
  ASSERT_NO_FATAL_FAILURE(start());
  const Outcome dumped = dump(workload_->root(), images_ / "1");
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  ASSERT_NO_FATAL_FAILURE(remove_all());
  // In which cgroups they were is known, but not what these were like.
  ASSERT_NO_FATAL_FAILURE(restore_with("soft"));
  EXPECT_EQ(try_read(at("pids") + "/pids.max"), "max\n");
  EXPECT_EQ(workload_->verdict(), "pass");
}

/// What was open before its cgroup forbade it stays open.
TEST_F(Cgroups, ThatForbidAnOpenDevice) {
  if (::access("/sys/fs/cgroup/devices/cgroup.procs", F_OK) != 0) {
    GTEST_SKIP() << "this machine has no cgroups at /sys/fs/cgroup/devices";
  }
  ASSERT_EQ(::mkdir(at("devices").c_str(), 0755), 0);
  write_to(at("devices") + "/devices.deny", "a");
  write_to(at("devices") + "/devices.allow", "c 1:3 rwm");
  LaunchOptions options;
  options.in_child = [] {
    if (::open("/dev/zero", O_RDONLY) < 0) {
      _exit(1);
    }
  };
  Workload workload("heartbeat", 0, {}, options);
  write_to(at("devices") + "/cgroup.procs", std::to_string(workload.root()));
  const std::string list = try_read(at("devices") + "/devices.list").value_or("");
  const auto has_it_open = [&] {
    const std::string table = fmt::format("/proc/{}/fd", workload.root());
    return std::ranges::any_of(numbers_in(table), [&](int number) {
      return try_read_link(fmt::format("{}/{}", table, number)) == "/dev/zero";
    });
  };
  ASSERT_TRUE(has_it_open());
  for (const char* image : {"1", "2"}) {
    const Outcome dumped = dump(workload.root(), images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NO_FATAL_FAILURE(remove_all());
    const Restored restored = restore(images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(try_read(at("devices") + "/devices.list"), list);
    EXPECT_TRUE(has_it_open());
  }
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Controllers that are handed down from the root of a cgroup namespace to what is below.
TEST_F(Cgroups, ThatHandDownControllers) {
  if (try_read(std::string(kMount) + "unified/cgroup.controllers").value_or("").find("hugetlb") ==
      std::string::npos) {
    GTEST_SKIP() << "version 2 has no controller hugetlb here";
  }
  const std::string all = std::string(kMount) + "unified/cgroup.subtree_control";
  const bool handed_down = try_read(all).value_or("").find("hugetlb") != std::string::npos;
  write_to(all, "+hugetlb");
  for (const char* path : {"", "/init", "/work", "/work/a", "/work/b"}) {
    ASSERT_EQ(::mkdir(at("unified", path).c_str(), 0755), 0);
  }
  LaunchOptions options;
  options.in_child = [this] {
    write_to(at("unified") + "/cgroup.procs", "0");
    if (::unshare(CLONE_NEWCGROUP) != 0) {
      _exit(1);
    }
    write_to(at("unified", "/init") + "/cgroup.procs", "0");
  };
  Workload workload("heartbeat", 0, {}, options);
  write_to(at("unified") + "/cgroup.subtree_control", "+hugetlb");
  write_to(at("unified", "/work") + "/cgroup.subtree_control", "+hugetlb");
  write_to(at("unified", "/work/b") + "/hugetlb.2MB.max", "8388608");
  write_to(at("unified", "/init") + "/hugetlb.2MB.max", "4194304");
  const Properties before = properties_of(left());
  ASSERT_EQ(before.at(at("unified", "/work/b") + "/hugetlb.2MB.max").substr(11), "8388608\n");
  for (const char* image : {"1", "2"}) {
    const Outcome dumped = dump(workload.root(), images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_NO_FATAL_FAILURE(remove_all());
    const Restored restored = restore(images_ / image, {"--manage-cgroups"});
    ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
    EXPECT_EQ(difference(before, properties_of(left())), "");
  }
  EXPECT_EQ(workload.verdict(), "pass");
  ASSERT_TRUE(wait_until([&] { return descendants().empty(); }));
  ASSERT_NO_FATAL_FAILURE(remove_all());
  if (!handed_down) {
    write_to(all, "-hugetlb");
  }
}

/// By the freezer of version 1 or 2: what stood still when it was dumped stands still afterwards.
TEST_F(Cgroups, ThatPauseTheTree) {
  const struct {
    const char* hierarchy;
    const char* file;
    const char* paused;
    const char* resumed;
  } versions[] = {{"freezer", "freezer.state", "FROZEN", "THAWED"}, {"unified", "cgroup.freeze", "1", "0"}};
  for (const auto& version : versions) {
    SCOPED_TRACE(version.hierarchy);
    for (const char* name : {"heartbeat", "tree", "threads"}) {
      SCOPED_TRACE(name);
      ASSERT_EQ(::mkdir(at(version.hierarchy).c_str(), 0755), 0);
      Workload workload(name, 0);
      const std::vector<pid_t> tree = tree_of(workload.root());
      const auto stopped = [&] {
        return std::ranges::count_if(tree, [](pid_t pid) { return state_of(pid) == 'T'; });
      };
      const auto stopped_before = stopped();
      for (const pid_t pid : tree) {
        write_to(at(version.hierarchy) + "/cgroup.procs", std::to_string(pid));
      }
      const std::string file = at(version.hierarchy) + "/" + version.file;
      const auto is_paused = [&] { return try_read(file) == version.paused + std::string("\n"); };
      write_to(file, version.paused);
      ASSERT_TRUE(wait_until(is_paused));
      for (const char* image : {"1", "2"}) {
        const std::string directory = images_ / (std::string(image) + name + version.hierarchy);
        const Outcome dumped = dump(workload.root(), directory, {"--manage-cgroups"});
        ASSERT_TRUE(dumped.ok()) << dumped.words();
        ASSERT_NO_FATAL_FAILURE(remove_all());
        // One that fails leaves nobody behind, paused or not.
        const Outcome failed = run({GODWIT_BINARY, "restore", "-D", directory, "--detach", "--pidfile",
                                    kNoPlaceForAPid, "--manage-cgroups"});
        EXPECT_EQ(failed.exit_code, 1) << failed.words();
        EXPECT_TRUE(left().empty()) << joined(left());
        const Restored restored = restore(directory, {"--manage-cgroups"});
        ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
        EXPECT_TRUE(wait_until(is_paused));
      }
      write_to(file, version.resumed);
      EXPECT_TRUE(wait_until([&] { return stopped() == stopped_before; }, 10));
      EXPECT_EQ(workload.verdict(), "pass");
      ASSERT_TRUE(wait_until([&] { return descendants().empty(); }));
      ASSERT_NO_FATAL_FAILURE(remove_all());
    }
  }
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
