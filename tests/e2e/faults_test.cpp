// What can go wrong from outside: a clear error, nothing left behind, and the tree runs on.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "kernel/fd.h"
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

namespace {

/// It failed as it should: exit code 1, and a message of one line that has `words` in it.
void expect_refusal(const Outcome& outcome, const std::vector<std::string>& words) {
  EXPECT_EQ(outcome.exit_code, 1) << outcome.words();
  EXPECT_EQ(lines_of(outcome.output).size(), 1U) << outcome.words();
  for (const std::string& word : words) {
    EXPECT_NE(outcome.output.find(word), std::string::npos) << "no '" << word << "' in: " << outcome.output;
  }
}

std::vector<std::string> files_in(const std::string& directory) {
  const Outcome listed = run({"/usr/bin/find", directory, "-mindepth", "1", "-printf", "%P\n"});
  return lines_of(listed.output);
}

class Faults : public testing::Test {
 protected:
  Outcome try_dump(pid_t pid, const std::string& directory) {
    return godwit({"dump", "-t", std::to_string(pid), "-D", directory});
  }

  /// A dump that fails leaves nothing in the directory of its name, and the workload is as before.
  void expect_failing_dump(Workload& workload, const std::string& directory,
                           const std::vector<std::string>& words) {
    const Snapshot before = observe_at_rest(workload.root());
    const std::vector<std::string> files = files_in(images_.path());
    expect_refusal(try_dump(workload.root(), directory), words);
    EXPECT_EQ(files_in(images_.path()), files);
    const std::vector<std::string> differences = compare_now(before, workload.root());
    EXPECT_TRUE(differences.empty()) << joined(differences);
  }

  void expect_failing_restore(const std::vector<std::string>& words) {
    expect_refusal(restore(image()).outcome, words);
    // Killed tasks that lost their parent come to us to be reaped.
    const auto none_left = [] {
      const std::vector<pid_t> left = descendants();
      for (const pid_t pid : left) {
        waitpid(pid, nullptr, WNOHANG | __WALL);
      }
      return left.empty();
    };
    EXPECT_TRUE(wait_until(none_left, 5)) << "something is left of the restore";
  }

  [[nodiscard]] std::string image() const { return images_ / "checkpoint"; }

  Reaper reaper_;
  TemporaryDirectory images_;
};

TEST_F(Faults, DumpOfAPidThatIsGone) {
  const pid_t gone = launch({"/bin/true"});
  ASSERT_EQ(wait_for_end(gone), 0);
  expect_refusal(try_dump(gone, image()), {std::to_string(gone)});
  EXPECT_TRUE(files_in(images_.path()).empty());
}

TEST_F(Faults, DumpOfAZombie) {
  const pid_t zombie = launch({"/bin/true"});
  ASSERT_TRUE(wait_until([&] { return state_of(zombie) == 'Z'; }));
  expect_refusal(try_dump(zombie, image()), {std::to_string(zombie)});
  EXPECT_TRUE(files_in(images_.path()).empty());
}

TEST_F(Faults, DumpOfAKernelThread) {
  pid_t kernel_thread = 0;
  for (const int pid : numbers_in("/proc")) {
    for (const auto& [name, value] :
         fields_of(try_read("/proc/" + std::to_string(pid) + "/status").value_or(""))) {
      kernel_thread = name == "Kthread" && value == "1" ? pid : kernel_thread;
    }
  }
  if (kernel_thread == 0) {
    GTEST_SKIP() << "no kernel thread is visible here";
  }
  expect_refusal(try_dump(kernel_thread, image()), {"kernel thread"});
}

TEST_F(Faults, DumpOfATracedTask) {
  Workload workload("heartbeat", 0);
  // Threads too: any of them.
  const int traced = numbers_in("/proc/" + std::to_string(workload.root()) + "/task").back();
  ASSERT_EQ(ptrace(PTRACE_SEIZE, traced, nullptr, nullptr), 0);
  expect_failing_dump(workload, image(), {"traced"});
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, traced, nullptr, nullptr), 0);
  int status = 0;
  ASSERT_EQ(waitpid(traced, &status, __WALL), traced);
  ASSERT_EQ(ptrace(PTRACE_DETACH, traced, nullptr, nullptr), 0);
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, DumpOfSomebodyElsesTask) {
  Workload workload("heartbeat", 0);
  const TemporaryDirectory theirs(kOtherUser);
  // The build may be out of another user's reach.
  const std::string program = theirs / "godwit";
  ASSERT_TRUE(run({"/bin/cp", GODWIT_BINARY, program}).ok());
  const Outcome outcome = run(
      {program, "dump", "-t", std::to_string(workload.root()), "-D", theirs / "checkpoint"}, 60, kOtherUser);
  expect_refusal(outcome, {std::to_string(workload.root())});
  EXPECT_EQ(files_in(theirs.path()), std::vector<std::string>{"godwit"});
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, DumpOfWhatIsNotSupported) {
  LaunchOptions options;
  options.in_child = [] {
    if (syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY) < 0) {
      _exit(1);
    }
  };
  const pid_t pid = launch({"/bin/sleep", "1000"}, options);
  // Not before it sleeps: until then the loader is at work.
  ASSERT_TRUE(wait_until([&] {
    return read_file("/proc/" + std::to_string(pid) + "/syscall")
        .starts_with(std::to_string(SYS_clock_nanosleep) + " ");
  }));
  const Snapshot before = observe_at_rest(pid);
  const Outcome refused = try_dump(pid, image());
  expect_refusal(refused, {"descriptor", std::to_string(pid), "userfaultfd"});
  EXPECT_EQ(refused.output.find("task " + std::to_string(pid)),
            refused.output.rfind("task " + std::to_string(pid)))
      << refused.output << "names the task twice";
  EXPECT_TRUE(files_in(images_.path()).empty());
  const std::vector<std::string> differences = compare_now(before, pid);
  EXPECT_TRUE(differences.empty()) << joined(differences);
}

TEST_F(Faults, DumpOfAPipeToAStranger) {
  const std::string fifo = images_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const Fd ours = open_file(fifo, O_RDWR);
  LaunchOptions options;
  options.in_child = [&] {
    const int writer = open(fifo.c_str(), O_WRONLY);
    if (writer < 0 || dup2(writer, 27) != 27 || close(writer) != 0) {
      _exit(1);
    }
  };
  const pid_t pid = launch({"/bin/sleep", "1000"}, options);
  ASSERT_TRUE(wait_until([&] { return state_of(pid) == 'S'; }));
  const Outcome outcome = try_dump(pid, image());
  expect_refusal(outcome, {"descriptor 27 of task " + std::to_string(pid), "outside the tree",
                           "; dump a process above both ends"});
}

TEST_F(Faults, DumpWithSyscallUserDispatch) {
  static volatile char selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const Fd from(ready[0]);
  Fd to(ready[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) != 0 ||
        write(to.get(), "x", 1) != 1) {
      _exit(1);
    }
    for (;;) {
      pause();
    }
  }
  to.reset();
  char byte = 0;
  if (read(from.get(), &byte, 1) != 1) {
    GTEST_SKIP() << "this kernel has no syscall user dispatch";
  }
  expect_refusal(try_dump(pid, image()), {std::to_string(pid), "syscall user dispatch"});
  EXPECT_TRUE(files_in(images_.path()).empty());
}

TEST_F(Faults, DumpToAFullDisk) {
  Workload workload("memory", 0);
  const std::string disk = images_ / "disk";
  ASSERT_EQ(mkdir(disk.c_str(), 0755), 0);
  ASSERT_EQ(mount("none", disk.c_str(), "tmpfs", 0, "size=3m"), 0);
  const Snapshot before = observe_at_rest(workload.root());
  const Outcome outcome = try_dump(workload.root(), disk + "/checkpoint");
  const std::vector<std::string> left = files_in(disk);
  ASSERT_EQ(umount(disk.c_str()), 0);
  expect_refusal(outcome, {"No space left on device"});
  EXPECT_TRUE(left.empty()) << joined(left);
  const std::vector<std::string> differences = compare_now(before, workload.root());
  EXPECT_TRUE(differences.empty()) << joined(differences);
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, DumpToATakenName) {
  Workload workload("heartbeat", 0);
  ASSERT_EQ(mkdir(image().c_str(), 0755), 0);
  write_text(image() + "/something", "precious");
  expect_failing_dump(workload, image(), {image()});
  EXPECT_EQ(try_read(image() + "/something"), "precious");
  expect_failing_dump(workload, images_ / "no/such/place", {images_ / "no/such"});
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, RestoreWithATakenPid) {
  Workload workload("heartbeat", 0);
  const Outcome dumped = dump(workload.root(), image(), {"--leave-running"});
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const std::vector<pid_t> tree = tree_of(workload.root());
  expect_refusal(restore(image()).outcome, {std::to_string(workload.root())});
  EXPECT_EQ(descendants(), tree);
  EXPECT_EQ(workload.verdict(), "pass");
  // Another pid of the tree, in the middle of it.
  const pid_t middle = tree.at(1);
  write_text("/proc/sys/kernel/ns_last_pid", std::to_string(middle - 1));
  const pid_t squatter = launch({"/bin/sleep", "1000"});
  if (squatter != middle) {
    GTEST_SKIP() << "somebody else was quicker to get a pid";
  }
  expect_refusal(restore(image()).outcome, {std::to_string(middle)});
  EXPECT_EQ(descendants(), std::vector<pid_t>{squatter});
}

TEST_F(Faults, RestoreWithoutAFile) {
  Workload workload("file_mappings", 0);
  const Outcome dumped = dump(workload.root(), image());
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  const std::string file = workload.directory() / "private";
  const std::string aside = workload.directory() / "aside";
  ASSERT_EQ(rename(file.c_str(), aside.c_str()), 0);
  expect_failing_restore({file});
  // Another file of that name, whose pages aren't those that were mapped.
  write_text(file, "short");
  expect_failing_restore({file, "its size was ", " bytes and is 5;"});
  ASSERT_EQ(rename(aside.c_str(), file.c_str()), 0);
  struct stat status {};
  ASSERT_EQ(lstat(file.c_str(), &status), 0);
  const timespec early[] = {{0, UTIME_OMIT}, {1'000'000'000, 5}};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), early, 0), 0);
  expect_failing_restore(
      {file, "its modification time was 20", " and is 2001-09-09 01:46:40.000000005 UTC;"});
  const timespec again[] = {{0, UTIME_OMIT}, status.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), again, 0), 0);
  const Restored restored = restore(image());
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, RestoreWhereASocketIsInUse) {
  Workload workload("unix_socket", 0);
  const Outcome dumped = dump(workload.root(), image());
  ASSERT_TRUE(dumped.ok()) << dumped.words();
  // The name of the workload's listening socket is somebody else's by now.
  const std::string path = workload.directory() / "socket";
  ASSERT_EQ(unlink(path.c_str()), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    Fd other(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(bind(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    expect_failing_restore({path, "another process"});
    if (type != SOCK_DGRAM) {
      ASSERT_EQ(listen(other.get(), 5), 0);
      expect_failing_restore({path, "another process"});
      EXPECT_EQ(accept(other.get(), nullptr, nullptr), -1) << "the restore has connected to it";
    }
    other.reset();
    if (type != SOCK_SEQPACKET) {
      ASSERT_EQ(unlink(path.c_str()), 0);
    }
  }
  // What the last owner has left behind makes way.
  const Restored restored = restore(image());
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

/// Made by the coordinator for two tasks, and by a task for itself.
TEST_F(Faults, AFailedRestoreLeavesNoSocketFile) {
  Workload workload("unix_socket", 0);
  const std::string shared = workload.directory() / "socket";
  ASSERT_TRUE(dump(workload.root(), image()).ok());
  const std::string own = images_ / "own";
  LaunchOptions options;
  options.in_child = [&] {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    own.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      _exit(1);
    }
  };
  const pid_t single = launch({"/bin/sleep", "1000"}, options);
  ASSERT_TRUE(wait_until([&] { return state_of(single) == 'S'; }));
  ASSERT_TRUE(dump(single, images_ / "single").ok());
  struct Case {
    std::string directory;
    std::string file;
  };
  for (const Case& one : {Case{image(), shared}, Case{images_ / "single", own}}) {
    // The pid is written last, when all else is there. What says that it lets us write, but doesn't?
    const Outcome outcome =
        godwit({"restore", "-D", one.directory, "--detach", "--pidfile", "/proc/no-place-for-it"});
    expect_refusal(outcome, {"/proc/no-place-for-it"});
    struct stat status {};
    EXPECT_NE(lstat(one.file.c_str(), &status), 0) << one.file << " is left";
    EXPECT_EQ(descendants().size(), 0U);
  }
  const Restored restored = restore(image());
  ASSERT_TRUE(restored.outcome.ok()) << restored.outcome.words();
  EXPECT_EQ(workload.verdict(), "pass");
}

TEST_F(Faults, RestoreFromNothing) {
  expect_failing_restore({image()});
  ASSERT_EQ(mkdir(image().c_str(), 0755), 0);
  expect_failing_restore({image()});
  write_text(image() + "/foreign", "something else");
  expect_failing_restore({image()});
}

/// Every kind of damage to every file of a checkpoint: found by verify, and by restore before anything is
/// made.
class DamagedImage : public Faults {
 protected:
  void SetUp() override {
    workload_ = std::make_unique<Workload>("heartbeat", 0);
    const Outcome dumped = dump(workload_->root(), image());
    ASSERT_TRUE(dumped.ok()) << dumped.words();
    ASSERT_TRUE(godwit({"verify", image()}).ok());
    files_ = files_in(image());
    ASSERT_FALSE(files_.empty());
  }

  /// Runs `damage` on a copy of `file`'s content, checks, and puts the file back.
  template <typename Damage>
  void check(const std::string& file, const std::string& what, bool restore_too, Damage damage) {
    SCOPED_TRACE(file + " " + what);
    const std::string path = image() + "/" + file;
    const std::string good = read_file(path);
    std::string bad = good;
    damage(bad);
    write_text(path, bad);
    const Outcome verified = godwit({"verify", image()});
    EXPECT_EQ(verified.exit_code, 1) << verified.words();
    if (restore_too) {
      expect_failing_restore({});
    }
    write_text(path, good);
    ++tried_;
  }

  std::unique_ptr<Workload> workload_;  // its files stay where the image looks for them
  std::vector<std::string> files_;
  int tried_ = 0;
};

TEST_F(DamagedImage, IsRefused) {
  for (const std::string& file : files_) {
    const size_t size = read_file(image() + "/" + file).size();
    for (const size_t kept : {size_t{0}, size_t{1}, size / 2, size - 1}) {
      check(file, "truncated to " + std::to_string(kept), true,
            [&](std::string& bytes) { bytes.resize(kept); });
    }
    check(file, "foreign", true,
          [](std::string& bytes) { bytes = read_file("/proc/self/exe").substr(0, bytes.size()); });
    check(file, "all zero", true, [](std::string& bytes) { bytes.assign(bytes.size(), '\0'); });
    check(file, "longer", false, [](std::string& bytes) { bytes += std::string(5000, 'x'); });
    constexpr size_t kFlips = 60;
    for (size_t i = 0; i < kFlips; ++i) {
      const size_t at = size * i / kFlips;
      check(file, "bit flipped at " + std::to_string(at), i % 10 == 0,
            [&](std::string& bytes) { bytes[at] = static_cast<char>(bytes[at] ^ (1 << i % 8)); });
    }
    const std::string path = image() + "/" + file;
    const std::string aside = images_ / "aside";
    ASSERT_EQ(rename(path.c_str(), aside.c_str()), 0);
    EXPECT_EQ(godwit({"verify", image()}).exit_code, 1) << "without " << file;
    expect_failing_restore({});
    ASSERT_EQ(rename(aside.c_str(), path.c_str()), 0);
  }
  printf("%d damaged images in %zu files tried\n", tried_, files_.size());
  EXPECT_TRUE(godwit({"verify", image()}).ok());
}

}  // namespace

}  // namespace godwit::e2e
