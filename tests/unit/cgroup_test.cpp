#include "kernel/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/cgroup.h"

namespace godwit {
namespace {

TEST(Cgroups, LinesOfProc) {
  const std::vector<Cgroup> cgroups =
      parse_cgroups("12:cpu,cpuacct:/a:b\n3:name=systemd:/\n0::/user.slice\n");
  ASSERT_EQ(cgroups.size(), 3U);
  EXPECT_TRUE(cgroups[0].has("cpu"));
  EXPECT_TRUE(cgroups[0].has("cpuacct"));
  EXPECT_FALSE(cgroups[0].has("cpuset"));
  EXPECT_FALSE(cgroups[0].has(""));
  EXPECT_EQ(cgroups[0].path, "/a:b");
  EXPECT_TRUE(cgroups[1].has("name=systemd"));
  EXPECT_TRUE(cgroups[2].has(""));
  EXPECT_EQ(cgroups[2].path, "/user.slice");
}

std::string own_path(std::string_view controller) {
  for (const Cgroup& cgroup : parse_cgroups(read_file("/proc/self/cgroup"))) {
    if (cgroup.has(controller)) {
      return cgroup.path;
    }
  }
  return {};
}

constexpr const char* kController = "pids";

std::vector<CgroupRoot> roots_at(const std::string& path) {
  return {CgroupRoot{.controller = kController, .path = path}};
}

class CgroupStays : public testing::Test {
 protected:
  void SetUp() override {
    before_ = own_path(kController);
    if (geteuid() != 0 || before_.empty()) {
      GTEST_SKIP() << "root and a hierarchy of the controller pids are needed";
    }
  }

  const std::string name_ = "/godwit-unit-" + std::to_string(getpid());
  std::string before_;
};

TEST_F(CgroupStays, EndWhereTheyBegan) {
  const std::string path = name_ + "/inner";
  std::string directory;
  {
    CgroupStay stay(roots_at(path));
    EXPECT_EQ(own_path(kController), path);
    directory = CgroupMounts().find({kController, name_}).directory;
    EXPECT_EQ(access(directory.c_str(), F_OK), 0);
    stay.leave();
    EXPECT_EQ(own_path(kController), before_);
  }
  EXPECT_NE(access(directory.c_str(), F_OK), 0) << "what was made for it has gone";
  {
    CgroupStay stay(roots_at(path));
    stay.keep();
  }
  EXPECT_EQ(own_path(kController), before_);
  EXPECT_EQ(rmdir((directory + "/inner").c_str()), 0);
  EXPECT_EQ(rmdir(directory.c_str()), 0);
}

TEST_F(CgroupStays, NeverLeaveTheHierarchy) {
  for (const char* path : {"/a/../../..", "relative", ""}) {
    EXPECT_THROW(CgroupStay(roots_at(path)), Error) << path;
  }
  EXPECT_EQ(own_path(kController), before_);
}

}  // namespace
}  // namespace godwit
