// Random trees of mounts, rebuilt from their images: what can be seen of them is as before, and what is
// mounted, moved and unmounted afterwards spreads as it does in the original. Seeds FIRST to LAST are tried,
// others by GODWIT_MOUNT_SEEDS=FIRST-LAST.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/mount_namespaces.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

constexpr std::array<const char*, 3> kNames = {"a", "b", "c"};

/// Two levels of directories, with two files in each.
void populate(const std::string& where, int levels = 2) {
  put(where + "/f", "f of " + where);
  put(where + "/g", "g of " + where);
  for (const char* name : kNames) {
    make(where + "/" + name);
    if (levels > 0) {
      populate(where + "/" + name, levels - 1);
    }
  }
}

/// Does to a namespace what a seed says, by paths alone: to namespaces that look alike it does the same.
/// What the kernel doesn't want is left.
class RandomMounts {
 public:
  /// `removes`: files, too.
  RandomMounts(uint64_t seed, bool removes) : random_(seed), removes_(removes) {}

  void act(int times) {
    for (int i = 0; i < times; ++i) {
      act();
    }
  }
  /// What was done and how it ended.
  [[nodiscard]] const std::vector<std::string>& log() const { return log_; }

 private:
  size_t below(size_t limit) { return random_() % limit; }

  std::string directory() {
    std::string path;
    for (size_t left = 1 + below(3); left > 0; --left) {
      path += "/";
      path += kNames[below(kNames.size())];
    }
    return path;
  }

  std::string file() { return directory() + (below(2) == 0 ? "/f" : "/g"); }

  unsigned long flags() {
    constexpr std::array<unsigned long, 6> kFlags = {MS_RDONLY, MS_NOSUID,  MS_NODEV,
                                                     MS_NOEXEC, MS_NOATIME, MS_NODIRATIME};
    unsigned long chosen = 0;
    for (const unsigned long flag : kFlags) {
      chosen |= below(3) == 0 ? flag : 0;
    }
    return chosen;
  }

  void note(const std::string& what, long result) {
    log_.push_back(fmt::format("{}: {}", what, result == 0 ? 0 : errno));
  }

  void mount_tmpfs() {
    constexpr std::array<const char*, 4> kOptions = {"", "size=1m", "nr_inodes=300,mode=750",
                                                     "size=512k,uid=3"};
    const std::string place = directory();
    const char* options = kOptions[below(kOptions.size())];
    const std::string source = fmt::format("tmpfs{}", below(10));
    const unsigned long chosen = flags() & ~static_cast<unsigned long>(MS_RDONLY);
    const int result = ::mount(source.c_str(), place.c_str(), "tmpfs", chosen, options);
    note(fmt::format("tmpfs {} on {}", options, place), result);
    if (result == 0) {
      try {
        populate(place, 1);
      } catch (const Error&) {
        log_.emplace_back("covered by what has been removed");
      }
    }
  }

  void bind_something(bool file_on_file, unsigned long recursive) {
    const std::string from = file_on_file ? file() : directory();
    const std::string to = file_on_file ? file() : directory();
    note(fmt::format("bind {} on {} {:#x}", from, to, recursive),
         ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | recursive, nullptr));
  }

  void propagate_something() {
    constexpr std::array<unsigned long, 8> kKinds = {MS_SHARED, MS_SHARED, MS_SHARED,  MS_SHARED,
                                                     MS_SLAVE,  MS_SLAVE,  MS_PRIVATE, MS_UNBINDABLE};
    const std::string place = below(8) == 0 ? "/" : directory();
    const unsigned long kind = kKinds[below(kKinds.size())] | (below(4) == 0 ? MS_REC : 0);
    note(fmt::format("propagation {:#x} of {}", kind, place),
         ::mount(nullptr, place.c_str(), nullptr, kind, nullptr));
  }

  void remount() {
    const std::string place = below(3) == 0 ? file() : directory();
    const unsigned long chosen = flags();
    note(fmt::format("flags {:#x} of {}", chosen, place),
         ::mount(nullptr, place.c_str(), nullptr, MS_BIND | MS_REMOUNT | chosen, nullptr));
  }

  void move() {
    const std::string from = directory();
    const std::string to = directory();
    note(fmt::format("move {} to {}", from, to),
         ::mount(from.c_str(), to.c_str(), nullptr, MS_MOVE, nullptr));
  }

  void unmount() {
    const std::string place = below(4) == 0 ? file() : directory();
    const int how = below(2) == 0 ? MNT_DETACH : 0;
    note(fmt::format("unmount {} {}", place, how), ::umount2(place.c_str(), how));
  }

  void pivot() {
    const std::string root = directory();
    const std::string old = root + "/" + kNames[below(kNames.size())];
    const bool stays = below(2) == 0;
    if (::chdir(root.c_str()) != 0) {
      note("chdir " + root, -1);
      return;
    }
    const long result = ::syscall(SYS_pivot_root, ".", stays ? old.c_str() : ".");
    note(fmt::format("pivot to {}, {}", root, stays ? old : "over it"), result);
    if (result == 0 && !stays) {
      note("leave", ::umount2(".", MNT_DETACH));
    }
    if (::chdir("/") != 0) {
      throw errno_error("chdir");
    }
  }

  void remove() {
    const std::string path = below(2) == 0 ? file() : directory();
    std::error_code code;
    for (const char* name : {"f", "g", "a", "b", "c"}) {
      std::filesystem::remove(path + "/" + name, code);
    }
    note("remove " + path, std::filesystem::remove(path, code) ? 0 : -1);
  }

  void write() {
    const std::string path = file();
    const Fd there(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    const std::string text = fmt::format("written {}", log_.size());
    note("write " + path, there && ::write(there.get(), text.data(), text.size()) > 0 ? 0 : -1);
  }

  void make_directory() {
    const std::string path = directory();
    note("make " + path, ::mkdir(path.c_str(), 0711));
  }

  void act() {
    switch (below(20)) {
      case 0:
      case 1:
      case 2:
        return mount_tmpfs();
      case 3:
      case 4:
      case 5:
        return bind_something(false, 0);
      case 6:
        return bind_something(false, MS_REC);
      case 7:
        return bind_something(true, 0);
      case 8:
      case 9:
      case 10:
      case 11:
      case 12:
        return propagate_something();
      case 13:
        return remount();
      case 14:
        return move();
      case 15:
        return unmount();
      case 16:
        return below(3) == 0 ? pivot() : unmount();
      case 17:
        return removes_ ? remove() : remount();
      case 18:
        return removes_ ? write() : move();
      default:
        return removes_ ? make_directory() : bind_something(true, 0);
    }
  }

  std::mt19937_64 random_;
  bool removes_;
  std::vector<std::string> log_;
};

struct Seeds {
  uint64_t first = 1;
  uint64_t last = 60;
};

Seeds seeds() {
  Seeds chosen;
  if (const char* text = std::getenv("GODWIT_MOUNT_SEEDS")) {
    const std::string_view words(text);
    const size_t dash = std::min(words.find('-'), words.size());
    std::from_chars(words.data(), words.data() + dash, chosen.first);
    chosen.last = chosen.first;
    if (dash < words.size()) {
      std::from_chars(words.data() + dash + 1, words.data() + words.size(), chosen.last);
    }
  }
  return chosen;
}

/// A line of files() without "mtime 1795728927.257016040".
std::string without_time(const std::string& line) {
  const size_t begin = line.find(" mtime ");
  const size_t end = std::min(line.find(' ', begin + 7), line.size());
  return line.substr(0, begin) + line.substr(end);
}

/// What stands in only one of two lists; empty: they are alike.
std::string difference(std::vector<std::string> again, std::vector<std::string> original) {
  std::ranges::sort(again);
  std::ranges::sort(original);
  std::vector<std::string> lost;
  std::vector<std::string> added;
  std::ranges::set_difference(original, again, std::back_inserter(lost));
  std::ranges::set_difference(again, original, std::back_inserter(added));
  std::string text;
  for (const std::string& line : lost) {
    text += "- " + line + "\n";
  }
  for (const std::string& line : added) {
    text += "+ " + line + "\n";
  }
  return text;
}

class MountTorture : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "only root can mount";
    }
  }

  /// The content of all that is mounted and can be reached.
  static std::vector<std::string> contents(const Inhabitant& of, bool times) {
    std::vector<std::string> all;
    for (const MountInfo& mount : of.mounts()) {
      if (std::filesystem::exists(of.path(mount.mount_point))) {
        for (const std::string& line : files(of.path(mount.mount_point))) {
          all.push_back(mount.mount_point + " " + (times ? line : without_time(line)));
        }
      }
    }
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  static void expect_alike(const Inhabitant& again, const Inhabitant& original, bool times = true) {
    ASSERT_EQ(difference(view(again), view(original)), "");
    ASSERT_EQ(difference(contents(again, times), contents(original, times)), "");
  }

  static void torture(uint64_t seed, bool from_outside) {
    const TempDirectory root;
    populate(root.path(), 2);
    std::string done;
    const Inhabitant original([&] {
      enter(root.path());
      if (!from_outside) {
        do_mount("root", "/a", "tmpfs", 0, nullptr);
        populate("/a");
        if (::chdir("/a") != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
            ::umount2(".", MNT_DETACH) != 0) {
          throw errno_error("pivot_root");
        }
      }
      RandomMounts random(seed, true);
      random.act(40);
    });
    const auto again = rebuild(collect(original), {});
    expect_alike(*again, original);
    if (HasFatalFailure()) {
      return;
    }
    for (const Inhabitant* one : {&original, static_cast<const Inhabitant*>(again.get())}) {
      ASSERT_EQ(one->act([&] {
        RandomMounts random(seed + 1'000'000, !from_outside);
        random.act(15);
      }),
                "");
    }
    // Each was acted on at its own time.
    expect_alike(*again, original, false);
    if (HasFatalFailure()) {
      return;
    }
    const auto once_more = rebuild(collect(*again), {});
    expect_alike(*once_more, *again);
  }
};

TEST_P(MountTorture, IsAsBefore) {
  for (uint64_t seed = seeds().first; seed <= seeds().last; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    try {
      torture(seed, GetParam());
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Root, MountTorture, testing::Bool(), [](const testing::TestParamInfo<bool>& of) {
  return of.param ? "FromOutside" : "OfItsOwn";
});

}  // namespace
}  // namespace godwit
