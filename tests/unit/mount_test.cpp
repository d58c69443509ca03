#include "dump/mount.h"

#include <fcntl.h>
#include <fts.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>

#include "images-format/validate_index.h"
#include "kernel/error.h"
#include "restore/mount.h"
#include "tests/unit/mount_namespaces.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

using testing::HasSubstr;

class Mounts : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "only root can mount";
    }
    for (const char* name :
         {"dev", "proc", "sys", "tmp", "run", "vol", "outside", "etc", "a", "b", "c", "d", "e"}) {
      make(root_ / name);
    }
    put(root_ / "etc/hosts", "127.0.0.1 localhost\n");
  }

  [[nodiscard]] std::unique_ptr<Inhabitant> rebuild(const CheckpointImage& image,
                                                    MountSettings settings = {}) const {
    settings.root = root_.path();
    return godwit::rebuild(image, settings);
  }

  void expect_rebuilt(const Inhabitant& original, const std::vector<std::string>& trees = {}) const {
    const CheckpointImage image = collect(original);
    const auto again = rebuild(image);
    EXPECT_EQ(view(*again), view(original));
    for (const std::string& tree : trees) {
      EXPECT_EQ(files(again->path(tree)), files(original.path(tree)));
    }
  }

  TempDirectory root_;
};

void mount_like_a_runtime() {
  do_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  do_mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  for (const char* name : {"/dev/pts", "/dev/shm", "/dev/mqueue"}) {
    make(name);
  }
  do_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
           "newinstance,ptmxmode=0666,mode=0620,gid=5");
  do_mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k");
  do_mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  do_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, nullptr);
  ::umask(0);
  if (::mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) != 0 ||
      ::symlink("/proc/self/fd", "/dev/fd") != 0) {
    throw errno_error("mknod");
  }
  bind("/dev/null", "/proc/timer_list");
  bind("/proc/sys", "/proc/sys", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
  do_mount("tmpfs", "/sys/firmware", "tmpfs", MS_RDONLY, "size=0k");
}

TEST_F(Mounts, OfAContainer) {
  const Inhabitant original([&] {
    enter(root_.path());
    mount_like_a_runtime();
    bind("/etc/hosts", "/etc/hosts", MS_RDONLY);
    do_mount("none", "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOATIME, nullptr);
  });
  expect_rebuilt(original, {"/dev", "/dev/shm"});
}

TEST_F(Mounts, FilesOfATmpfs) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777");
    ::umask(0);
    make("/tmp/d");
    make("/tmp/d/deep");
    put("/tmp/d/text", std::string(100000, 'x') + "end", 04755);
    put("/tmp/d/empty", "", 0600);
    Fd sparse = open_file("/tmp/d/deep/sparse", O_RDWR | O_CREAT, 0640);
    const std::string word = "here";
    if (::pwrite(sparse.get(), word.data(), word.size(), 1 << 20) != 4 ||
        ::ftruncate(sparse.get(), 5 << 20) != 0 || ::link("/tmp/d/text", "/tmp/other-name") != 0 ||
        ::symlink("nowhere", "/tmp/link") != 0 || ::mkfifo("/tmp/fifo", 0620) != 0 ||
        ::mknod("/tmp/socket", S_IFSOCK | 0777, 0) != 0 ||
        ::mknod("/tmp/full", S_IFCHR | 0666, makedev(1, 7)) != 0 || ::lchown("/tmp/link", 7, 8) != 0 ||
        ::chown("/tmp/d/deep", 1000, 1001) != 0 ||
        ::setxattr("/tmp/d", "trusted.godwit", "value", 5, 0) != 0 ||
        ::setxattr("/tmp/d/empty", "trusted.godwit", "other", 5, 0) != 0) {
      throw errno_error("files");
    }
    sparse.reset();
    const std::array<timespec, 2> times{timespec{1000, 1}, timespec{2000, 2}};
    ::utimensat(AT_FDCWD, "/tmp/d", times.data(), 0);
    bind("/tmp/d/deep", "/vol");
    do_mount("none", "/tmp", nullptr, MS_REMOUNT | MS_RDONLY, "mode=1777");
  });
  expect_rebuilt(original, {"/tmp", "/vol"});
}

TEST_F(Mounts, InAllPropagations) {
  for (const unsigned long of_root : {MS_PRIVATE, MS_SHARED, MS_SLAVE}) {
    const Inhabitant original([&] {
      enter(root_.path());
      do_mount("tmpfs", "/a", "tmpfs", 0, nullptr);
      make("/a/sub");
      make("/a/sub/under");
      propagate("/a", MS_SHARED);
      bind("/a/sub", "/b");  // a peer with a narrower root
      bind("/a/sub", "/c");
      propagate("/c", MS_SLAVE);
      bind("/c", "/d");
      propagate("/d", MS_SHARED);  // shared, and a slave
      bind("/d/under", "/e");
      propagate("/e", MS_SLAVE);  // the slave of that
      do_mount("tmpfs", "/run", "tmpfs", 0, nullptr);
      propagate("/run", MS_UNBINDABLE);
      if (of_root != MS_PRIVATE) {
        propagate("/", MS_SHARED);
        bind("/etc", "/vol");
        propagate("/vol", of_root);
      }
    });
    expect_rebuilt(original, {"/a"});
  }
}

TEST_F(Mounts, WithoutAWideMember) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("tmpfs", "/a", "tmpfs", 0, nullptr);
    make("/a/one");
    make("/a/two");
    propagate("/a", MS_SHARED);
    bind("/a/one", "/b");
    bind("/a/two", "/c");
    if (::umount("/a") != 0) {
      throw errno_error("umount");
    }
  });
  expect_rebuilt(original, {"/b", "/c"});
}

TEST_F(Mounts, OnTopOfEachOther) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("lower", "/tmp", "tmpfs", 0, nullptr);
    put("/tmp/hidden", "as long as the other is there");
    make("/tmp/place");
    do_mount("below", "/tmp/place", "tmpfs", 0, nullptr);
    bind("/tmp", "/vol");  // where the content can be seen
    do_mount("upper", "/tmp", "tmpfs", 0, nullptr);
    put("/tmp/seen", "");
    bind("/etc/hosts", "/etc/hosts");
    bind("/dev", "/run");
  });
  const CheckpointImage image = [&] {
    try {
      return collect(original);
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("mount point /tmp/place (tmpfs), which is covered"));
      return collect(original, {.external = {}, .skip = {"/tmp/place"}, .enable = {}});
    }
  }();
  const auto again = rebuild(image);
  EXPECT_EQ(files(again->path("/tmp")), files(original.path("/tmp")));
  EXPECT_EQ(files(again->path("/vol")), files(original.path("/vol")));
}

TEST_F(Mounts, FromOutsideByName) {
  const TempDirectory volume;
  put(volume / "data", "old");
  const TempDirectory other;
  put(other / "data", "new");
  const Inhabitant original([&] {
    do_mount(volume.path().c_str(), (root_ / "outside").c_str(), nullptr, MS_BIND, nullptr);
    do_mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    do_mount(root_.path().c_str(), root_.path().c_str(), nullptr, MS_BIND | MS_REC, nullptr);
    if (::chdir(root_.path().c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
        ::umount2(".", MNT_DETACH) != 0) {
      throw errno_error("pivot_root");
    }
  });
  const CheckpointImage found = collect(original);
  EXPECT_EQ(read_file(rebuild(found)->path("/outside/data")), "old");
  const CheckpointImage named =
      collect(original, {.external = {{"/outside", "volume"}}, .skip = {}, .enable = {}});
  EXPECT_EQ(
      read_file(rebuild(named, {.root = {}, .external = {{"volume", other.path()}}})->path("/outside/data")),
      "new");
}

TEST_F(Mounts, WhatIsNotKnownIsRefusedByName) {
  const Inhabitant original([&] {
    enter(root_.path());
    std::array<int, 2> ends{};
    must(::pipe(ends.data()));
    const std::string options =
        fmt::format("fd={},pgrp={},minproto=5,maxproto=5,direct", ends[1], ::getpgrp());
    do_mount("auto", "/run", "autofs", 0, options.c_str());
  });
  try {
    (void)collect(original);
    FAIL() << "an autofs was collected";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("mount point /run (autofs)"));
  }
}

TEST_F(Mounts, FilesOfARamfs) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("ram", "/run", "ramfs", MS_NOSUID, "mode=700");
    make("/run/d");
    put("/run/d/text", "here", 0640);
  });
  expect_rebuilt(original, {"/run"});
}

/// A root without a name: of a tmpfs and of a file system outside, with and without other names.
TEST_F(Mounts, OfWhatHasBeenRemoved) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("tmpfs", "/tmp", "tmpfs", 0, nullptr);
    for (const char* where : {"/tmp", "/a"}) {
      const std::string base(where);
      make(base + "/way");
      make(base + "/way/gone");
      put(base + "/text", "removed", 0604);
    }
    put("/tmp/one", "linked");
    put("/tmp/replaced", "old");
    for (const char* place : {"b", "c"}) {
      put(std::string("/tmp/") + place, "");
      put(std::string("/vol/") + place, "");
      make(std::string("/run/") + place);
    }
    put("/vol/d", "");
    put("/vol/e", "");
    bind("/tmp/text", "/vol/b");
    bind("/a/text", "/vol/c", MS_RDONLY);
    bind("/tmp/one", "/vol/d");
    bind("/tmp/replaced", "/vol/e");
    bind("/tmp/way/gone", "/run/b");
    bind("/a/way/gone", "/run/c", MS_NOEXEC);
    propagate("/vol/b", MS_SHARED);
    bind("/vol/b", "/tmp/b");
    must(::unlink("/tmp/text"));
    must(::unlink("/a/text"));
    must(::link("/tmp/one", "/tmp/other"));
    must(::unlink("/tmp/one"));
    put("/tmp/new", "new");
    must(::rename("/tmp/new", "/tmp/replaced"));
    for (const char* gone : {"/tmp/way/gone", "/tmp/way", "/a/way/gone", "/a/way"}) {
      must(::rmdir(gone));
    }
  });
  const std::vector<std::string> before = files(root_.path());
  expect_rebuilt(original, {"/tmp", "/vol/b", "/vol/c", "/vol/d", "/vol/e", "/run/b", "/run/c", "/tmp/b"});
  EXPECT_EQ(files(root_.path()), before);
  struct stat one {};
  struct stat other {};
  const auto again = rebuild(collect(original));
  EXPECT_EQ(::stat(again->path("/vol/d").c_str(), &one), 0);
  EXPECT_EQ(::stat(again->path("/tmp/other").c_str(), &other), 0);
  EXPECT_EQ(one.st_ino, other.st_ino);
}

TEST_F(Mounts, OfWhatHasLostOnlyThisNameOutsideAreRefused) {
  const Inhabitant original([&] {
    enter(root_.path());
    put("/a/text", "text");
    put("/vol/text", "");
    bind("/a/text", "/vol/text");
    must(::rename("/a/text", "/a/elsewhere"));
    must(::link("/a/elsewhere", "/a/text"));
    must(::unlink("/a/elsewhere"));
  });
  try {
    (void)collect(original);
    FAIL() << "it was collected";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("has lost this name but has others"));
  }
}

/// Two trees of one tmpfs, of which only these are mounted, with a file in both.
TEST_F(Mounts, HardLinksBetweenDirectoriesThatAreMountedApart) {
  const Inhabitant original([&] {
    enter(root_.path());
    do_mount("tmpfs", "/tmp", "tmpfs", 0, nullptr);
    make("/tmp/one");
    make("/tmp/two");
    put("/tmp/one/text", "text");
    put("/tmp/single", "single");
    must(::link("/tmp/one/text", "/tmp/two/same"));
    must(::link("/tmp/single", "/tmp/two/single"));
    put("/vol/file", "");
    bind("/tmp/one", "/a");
    bind("/tmp/two", "/b");
    bind("/tmp/single", "/vol/file");
    must(::umount("/tmp"));
  });
  expect_rebuilt(original, {"/a", "/b", "/vol/file"});
}

TEST(Mountinfo, IsParsed) {
  const auto mounts = parse_mountinfo(
      "36 35 98:0 /mnt\\0401 /mnt\\0402 rw,noatime,nodiratime master:1 shared:7 - ext3 /dev/root "
      "rw,errors=continue\n"
      "37 36 0:5 / / ro,nosuid unbindable - tmpfs  ro,size=4k\n");
  ASSERT_EQ(mounts.size(), 2U);
  EXPECT_EQ(mounts[0].root, "/mnt 1");
  EXPECT_EQ(mounts[0].mount_point, "/mnt 2");
  EXPECT_EQ(mounts[0].attributes, uint64_t{MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME});
  EXPECT_EQ(mounts[0].master, 1U);
  EXPECT_EQ(mounts[0].peer_group, 7U);
  EXPECT_EQ(mounts[0].options, std::vector<std::string>{"errors=continue"});
  EXPECT_EQ(mounts[1].attributes, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(mounts[1].source, "");
  EXPECT_TRUE(mounts[1].read_only && mounts[1].unbindable);
  EXPECT_THROW((void)parse_mountinfo("36 35 98:0 / / rw,surprising - ext3 x rw\n"), Error);
}

}  // namespace
}  // namespace godwit
