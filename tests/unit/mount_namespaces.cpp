#include "tests/unit/mount_namespaces.h"

#include <fcntl.h>
#include <fts.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <map>

#include "dump/mount.h"
#include "images-format/validate_index.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {

namespace {

/// Runs `body` in a child. Returns its pid, and what it had to say: "ready", or what was thrown. The child
/// waits, or ends.
std::pair<pid_t, std::string> in_child(const std::function<void()>& body, bool waits) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const Fd told(ends[0]);
  Fd tell(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string words = "ready";
    try {
      body();
    } catch (const std::exception& e) {
      words = e.what();
    }
    [[maybe_unused]] const ssize_t put = ::write(tell.get(), words.data(), words.size());
    tell.reset();
    while (waits) {
      ::pause();
    }
    ::_exit(0);
  }
  tell.reset();
  return {child, read_all(told.get(), "words")};
}

/// Keeps records, and pages in memory.
class MemoryWriter final : public CheckpointWriter {
 public:
  MemoryWriter() { add(image::Checkpoint()); }
  void add(const google::protobuf::Message& record) override { append(records_, record); }
  PageSink& pages() override { return *pages_; }
  void commit() override {}
  [[nodiscard]] CheckpointName name() const override { return {}; }
  void retract() noexcept override {}
  void part() noexcept override {}
  [[nodiscard]] CheckpointImage image() && { return {std::move(records_), std::move(pages_)}; }

 private:
  std::vector<Record> records_;
  std::unique_ptr<MemoryPages> pages_ = std::make_unique<MemoryPages>();
};
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

}  // namespace

Inhabitant::Inhabitant(const std::function<void()>& body) {
  std::string words;
  std::tie(pid_, words) = in_child(
      [&] {
        if (::unshare(CLONE_NEWNS) != 0) {
          throw errno_error("unshare");
        }
        body();
      },
      true);
  EXPECT_EQ(words, "ready");
}

Inhabitant::~Inhabitant() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::vector<MountInfo> Inhabitant::mounts() const {
  return parse_mountinfo(read_file(fmt::format("/proc/{}/mountinfo", pid_)));
}

std::string Inhabitant::path(const std::string& inside) const {
  return fmt::format("/proc/{}/root{}", pid_, inside);
}

std::string Inhabitant::act(const std::function<void()>& body) const {
  const Fd space = open_file(fmt::format("/proc/{}/ns/mnt", pid_), O_RDONLY);
  const Fd root = open_file(path("/"), O_PATH | O_DIRECTORY);
  const auto [child, words] = in_child(
      [&] {
        if (::setns(space.get(), CLONE_NEWNS) != 0 || ::fchdir(root.get()) != 0 || ::chroot(".") != 0) {
          throw errno_error("cannot enter");
        }
        body();
      },
      false);
  ::waitpid(child, nullptr, 0);
  return words == "ready" ? "" : words;
}

void must(int result) {
  if (result != 0) {
    throw errno_error("preparing");
  }
}

void do_mount(const char* source, const char* target, const char* type, unsigned long flags,
              const char* data) {
  if (::mount(source, target, type, flags, data) != 0) {
    throw errno_error("mount {} on {}", source, target);
  }
}
void bind(const char* source, const char* target, unsigned long flags) {
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
void put(const std::string& path, const std::string& text, mode_t mode) {
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

CheckpointImage collect(const Inhabitant& of, MountOptions options) {
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

std::unique_ptr<Inhabitant> rebuild(const CheckpointImage& image, const MountSettings& settings) {
  return std::make_unique<Inhabitant>(
      [&] { build_mounts(image, *image.all<image::MountNamespace>().at(0), settings); });
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
    // In a file system that others see, too, a root without a name had another one.
    const std::string root = mount->is_deleted() && mount->type != "tmpfs" ? "(removed)" : mount->root;
    lines.push_back(fmt::format("{}: device {} root {} flags {:#x} shared {} master {} {} {} {} {} {}", where,
                                device, root, mount->attributes, group, master,
                                mount->unbindable ? "unbindable" : "", mount->type, mount->source,
                                mount->read_only ? "ro" : "rw", fmt::join(mount->options, ",")));
  }
  return lines;
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

}  // namespace godwit
