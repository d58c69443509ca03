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
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

using testing::HasSubstr;

/// A child that makes a mount namespace of its own, does something there, and waits until it is killed.
class Inhabitant {
 public:
  explicit Inhabitant(const std::function<void()>& body) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd told(ends[0]);
    Fd tell(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      std::string words = "ready";
      try {
        if (::unshare(CLONE_NEWNS) != 0) {
          throw errno_error("unshare");
        }
        body();
      } catch (const std::exception& e) {
        words = e.what();
      }
      [[maybe_unused]] const ssize_t put = ::write(tell.get(), words.data(), words.size());
      tell.reset();
      while (true) {
        ::pause();
      }
    }
    tell.reset();
    EXPECT_EQ(read_all(told.get(), "words"), "ready");
  }
  ~Inhabitant() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Inhabitant(const Inhabitant&) = delete;
  Inhabitant& operator=(const Inhabitant&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::vector<MountInfo> mounts() const {
    return parse_mountinfo(read_file(fmt::format("/proc/{}/mountinfo", pid_)));
  }
  [[nodiscard]] std::string path(const std::string& inside) const {
    return fmt::format("/proc/{}/root{}", pid_, inside);
  }

 private:
  pid_t pid_ = 0;
};

void do_mount(const char* source, const char* target, const char* type, unsigned long flags,
              const char* data) {
  if (::mount(source, target, type, flags, data) != 0) {
    throw errno_error("mount {} on {}", source, target);
  }
}
void bind(const char* source, const char* target, unsigned long flags = 0) {
  do_mount(source, target, nullptr, MS_BIND, nullptr);
  if (flags != 0) {
    do_mount(source, target, nullptr, MS_BIND | MS_REMOUNT | flags, nullptr);
  }
}
void propagate(const char* target, unsigned long how) {
  do_mount("none", target, nullptr, how, nullptr);
}
void make(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0) {
    throw errno_error("mkdir {}", path);
  }
}
void put(const std::string& path, const std::string& text, mode_t mode = 0644) {
  const Fd file = open_file(path, O_WRONLY | O_CREAT | O_EXCL, mode);
  write_all(file.get(), std::as_bytes(std::span(text)), path);
}

/// As runtimes do: the directory becomes the root, mounted on itself.
void enter(const std::string& root) {
  do_mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  do_mount(root.c_str(), root.c_str(), nullptr, MS_BIND, nullptr);
  if (::chdir(root.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
      ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
    throw errno_error("pivot_root");
  }
}

/// Keeps records, and pages in memory.
class MemoryWriter final : public CheckpointWriter {
 public:
  MemoryWriter() { add(image::Checkpoint()); }
  void add(const google::protobuf::Message& record) override { append(records_, record); }
  PageSink& pages() override { return *pages_; }
  void commit() override {}
  void retract() noexcept override {}
  void part() noexcept override {}
  [[nodiscard]] CheckpointImage image() && { return {std::move(records_), std::move(pages_)}; }

 private:
  std::vector<Record> records_;
  std::unique_ptr<MemoryPages> pages_ = std::make_unique<MemoryPages>();
};

CheckpointImage collect(const Inhabitant& of, MountOptions options = {}) {
  MountCollector collector(std::move(options));
  collector.collect(of.pid());
  MemoryWriter writer;
  MemoryObjectIds ids;
  collector.write(writer, ids);
  CheckpointImage image = std::move(writer).image();
  ValidationIndex index;
  for (const auto* superblock : image.all<image::Superblock>()) {
    index.superblocks[superblock->id()] = superblock;
  }
  for (const auto* space : image.all<image::MountNamespace>()) {
    index.mount_namespaces[space->id()] = space;
  }
  validate_mounts(index);
  return image;
}

/// What can be seen of a mount namespace, with groups by the order of their appearance.
std::vector<std::string> view(const Inhabitant& of) {
  const std::vector<MountInfo> mounts = of.mounts();
  std::map<uint32_t, const MountInfo*> by_id;
  for (const MountInfo& mount : mounts) {
    by_id[mount.id] = &mount;
  }
  std::map<uint32_t, std::string> places;
  const std::function<std::string(const MountInfo&)> place = [&](const MountInfo& mount) -> std::string {
    const auto parent = by_id.find(mount.parent_id);
    return (parent == by_id.end() ? "" : place(*parent->second) + " > ") + mount.mount_point;
  };
  std::vector<std::pair<std::string, const MountInfo*>> ordered;
  for (const MountInfo& mount : mounts) {
    ordered.emplace_back(place(mount), &mount);
  }
  std::ranges::sort(ordered);
  std::map<uint32_t, size_t> groups{{0, 0}};
  std::map<dev_t, size_t> devices;
  std::vector<std::string> lines;
  for (const auto& [where, mount] : ordered) {
    const size_t device = devices.try_emplace(mount->device, devices.size()).first->second;
    const size_t group = groups.try_emplace(mount->peer_group, groups.size()).first->second;
    const size_t master = groups.try_emplace(mount->master, groups.size()).first->second;
    lines.push_back(fmt::format("{}: device {} root {} flags {:#x} shared {} master {} {} {} {} {} {}", where,
                                device, mount->root, mount->attributes, group, master,
                                mount->unbindable ? "unbindable" : "", mount->type, mount->source,
                                mount->read_only ? "ro" : "rw", fmt::join(mount->options, ",")));
  }
  return lines;
}

std::string describe(const FTSENT& entry) {
  const struct stat& s = *entry.fts_statp;
  std::string text =
      fmt::format("{:o} {}:{} rdev {} links {} mtime {}.{}", s.st_mode, s.st_uid, s.st_gid, s.st_rdev,
                  S_ISDIR(s.st_mode) ? 0 : s.st_nlink, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
  if (S_ISREG(s.st_mode)) {
    text +=
        fmt::format(" blocks {} '{}'", s.st_blocks, std::hash<std::string>()(read_file(entry.fts_accpath)));
  } else if (S_ISLNK(s.st_mode)) {
    text += " -> " + read_link(entry.fts_accpath);
  }
  std::array<char, 256> value{};
  const ssize_t length = ::lgetxattr(entry.fts_accpath, "trusted.godwit", value.data(), value.size());
  return text + (length < 0 ? "" : " [" + std::string(value.data(), static_cast<size_t>(length)) + "]");
}

/// All files below, without what is mounted on them.
std::vector<std::string> files(const std::string& root) {
  std::array<char*, 2> roots{const_cast<char*>(root.c_str()), nullptr};  // NOLINT: fts(3) doesn't change it
  FTS* walk = ::fts_open(roots.data(), FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, nullptr);
  std::vector<std::string> lines;
  dev_t device = 0;
  while (const FTSENT* entry = ::fts_read(walk)) {
    device = entry->fts_level == FTS_ROOTLEVEL ? entry->fts_statp->st_dev : device;
    if (entry->fts_info != FTS_DP && entry->fts_statp->st_dev == device) {
      lines.push_back(std::string(entry->fts_path).substr(root.size()) + " " + describe(*entry));
    }
  }
  ::fts_close(walk);
  std::ranges::sort(lines);
  return lines;
}

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

  /// Builds the image in a namespace of its own.
  [[nodiscard]] std::unique_ptr<Inhabitant> rebuild(const CheckpointImage& image,
                                                    MountSettings settings = {}) const {
    settings.root = root_.path();
    return std::make_unique<Inhabitant>(
        [&, settings] { build_mounts(image, *image.all<image::MountNamespace>().at(0), settings); });
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
    do_mount("ram", "/run", "ramfs", 0, nullptr);
  });
  try {
    collect(original);
    FAIL() << "a ramfs was collected";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("mount point /run (ramfs)"));
  }
  const CheckpointImage image = collect(original, {.external = {}, .skip = {}, .enable = {"ramfs"}});
  EXPECT_EQ(view(*rebuild(image)), view(original));
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
