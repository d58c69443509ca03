#include "parasite/parasite.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <tuple>

#include "kernel/fd.h"
#include "kernel/remote.h"
#include "parasite/remote_call.h"

namespace godwit {
namespace {

/// A child that waits in a system call, seized and stopped.
class Victim {
 public:
  template <typename Body>
  explicit Victim(Body body) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    EXPECT_EQ(pipe(in.data()), 0);
    EXPECT_EQ(pipe(out.data()), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(in[1]);
      close(out[0]);
      body(in[0], out[1]);
      _exit(0);
    }
    close(in[0]);
    close(out[1]);
    to_ = Fd(in[1]);
    from_ = Fd(out[0]);
  }
  ~Victim() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, __WALL);
    }
  }
  void stop_in_read() {
    while (read_file("/proc/" + std::to_string(pid_) + "/syscall").rfind("0 ", 0) != 0) {
      usleep(100);
    }
    ASSERT_EQ(ptrace(PTRACE_SEIZE, pid_, nullptr, PTRACE_O_TRACESYSGOOD), 0);
    ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr), 0);
    wait_for_stop(pid_);
  }
  int exit_status() {
    int status = -1;
    waitpid(pid_, &status, __WALL);
    pid_ = 0;
    return status;
  }
  pid_t pid_;
  Fd to_;
  Fd from_;
};

void read_one_byte_and_report(int in, int out) {
  char byte = 0;
  const ssize_t got = read(in, &byte, 1);
  const char verdict = got == 1 && byte == 'x' ? 'y' : 'n';
  if (write(out, &verdict, 1) != 1) {
    _exit(1);
  }
}

/// Whether there is a way home for the task depends on its mappings: it stands on its main stack.
enum class WayHomeIs { Laid, Missing };

std::vector<procfs::Map> maps_of(pid_t pid, WayHomeIs way_home) {
  return way_home == WayHomeIs::Laid ? procfs::read_maps(pid) : std::vector<procfs::Map>{};
}

class ParasiteWays : public testing::TestWithParam<WayHomeIs> {};

TEST_P(ParasiteWays, AsksInsideAndLeavesTheTaskAsItWas) {
  Victim victim(read_one_byte_and_report);
  victim.stop_in_read();
  const pid_t pid = victim.pid_;
  const std::string maps = read_file("/proc/" + std::to_string(pid) + "/maps");
  const ThreadContext before = ThreadContext::of(pid);
  std::vector<std::byte> stack(16384);
  std::vector<std::byte> stack_after(stack.size());
  RemoteMemory(pid).read(before.general.rsp - stack.size(), stack);
  {
    OwnCodeFinder finder;
    Parasite parasite(std::array{pid}, maps_of(pid, GetParam()), finder, free_range({}, 1 << 16), 1 << 16);
    ScriptBuilder script(parasite.next_script_address());
    const OpIndex who = script.call("get the pid", SYS_getpid, {});
    const uint64_t name = script.reserve(16);
    script.call("get the name", SYS_prctl, {PR_GET_NAME, name});
    parasite.start(pid, script);
    parasite.collect(pid);
    EXPECT_EQ(script.result(who), pid);
    EXPECT_STREQ(reinterpret_cast<const char*>(script.data(name, 16).data()), "unit_tests");
  }
  EXPECT_EQ(read_file("/proc/" + std::to_string(pid) + "/maps"), maps);
  const ThreadContext after = ThreadContext::of(pid);
  EXPECT_EQ(memcmp(&before.general, &after.general, sizeof before.general), 0);
  EXPECT_EQ(before.blocked, after.blocked);
  RemoteMemory(pid).read(before.general.rsp - stack.size(), stack_after);
  EXPECT_TRUE(stack == stack_after) << "what lies below the stack pointer is another";

  ASSERT_EQ(ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  EXPECT_EQ(write(victim.to_.get(), "x", 1), 1);
  char verdict = 0;
  EXPECT_EQ(read(victim.from_.get(), &verdict, 1), 1);
  EXPECT_EQ(verdict, 'y') << "the read that was interrupted must not have failed";
}

INSTANTIATE_TEST_SUITE_P(Ways, ParasiteWays, testing::Values(WayHomeIs::Laid, WayHomeIs::Missing));

TEST(Parasite, AFailedQuestionNamesItselfAndHarmsNothing) {
  Victim victim(read_one_byte_and_report);
  victim.stop_in_read();
  const pid_t pid = victim.pid_;
  {
    OwnCodeFinder finder;
    Parasite parasite(std::array{pid}, procfs::read_maps(pid), finder, free_range({}, 1 << 16), 1 << 16);
    ScriptBuilder script(parasite.next_script_address());
    script.call("close descriptor 999", SYS_close, {999});
    parasite.start(pid, script);
    EXPECT_THROW(parasite.collect(pid), Error);
  }
  ASSERT_EQ(ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  EXPECT_EQ(write(victim.to_.get(), "x", 1), 1);
  EXPECT_EQ(victim.exit_status(), 0);
}

/// Its vector registers are in use across the read.
void read_one_byte_and_compare_vectors(int in, int out) {
  std::array<unsigned char, 32> vector{};
  for (size_t i = 0; i < vector.size(); ++i) {
    vector[i] = static_cast<unsigned char>(i * 7 + 1);
  }
  std::array<unsigned char, 32> after{};
  char byte = 0;
  long got = SYS_read;
  const auto read_with = [&](auto size) {
    if constexpr (size == 32) {
      asm volatile("vmovdqu (%[v]), %%ymm7\n\tsyscall\n\tvmovdqu %%ymm7, (%[a])\n\tvzeroupper"
                   : "+a"(got)
                   : [v] "r"(vector.data()), [a] "r"(after.data()), "D"(in), "S"(&byte), "d"(1)
                   : "rcx", "r11", "xmm7", "memory");
    } else {
      asm volatile("movdqu (%[v]), %%xmm7\n\tsyscall\n\tmovdqu %%xmm7, (%[a])"
                   : "+a"(got)
                   : [v] "r"(vector.data()), [a] "r"(after.data()), "D"(in), "S"(&byte), "d"(1)
                   : "rcx", "r11", "xmm7", "memory");
    }
    return memcmp(vector.data(), after.data(), size) == 0;
  };
  const bool same = __builtin_cpu_supports("avx") ? read_with(std::integral_constant<size_t, 32>())
                                                  : read_with(std::integral_constant<size_t, 16>());
  const char verdict = got == 1 && byte == 'x' && same ? 'y' : 'n';
  if (write(out, &verdict, 1) != 1) {
    _exit(1);
  }
}

enum class DiesWhen { Mapped, ScriptRuns, ScriptHasRun };

class TracerDies : public testing::TestWithParam<std::tuple<DiesWhen, WayHomeIs>> {};

/// The thread resumes by itself, and unmaps the engine, if there is a way home.
TEST_P(TracerDies, AndTheTaskGoesOn) {
  const auto [when, way_home] = GetParam();
  Victim victim(read_one_byte_and_compare_vectors);
  const pid_t pid = victim.pid_;
  const std::string maps = read_file("/proc/" + std::to_string(pid) + "/maps");
  const pid_t tracer = fork();
  if (tracer == 0) {
    victim.stop_in_read();
    OwnCodeFinder finder;
    Parasite parasite(std::array{pid}, maps_of(pid, way_home), finder, free_range({}, 1 << 16), 1 << 16);
    ScriptBuilder script(parasite.next_script_address());
    for (int i = 0; i < 300; ++i) {
      script.call("get the pid", SYS_getpid, {});
    }
    if (when != DiesWhen::Mapped) {
      parasite.start(pid, script);
    }
    if (when == DiesWhen::ScriptHasRun) {
      parasite.collect(pid);
    }
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(tracer, &status, 0), tracer);
  ASSERT_TRUE(WIFSIGNALED(status));
  // Only what has come home sleeps in the read again.
  while (read_file("/proc/" + std::to_string(pid) + "/syscall").rfind("0 ", 0) != 0) {
    usleep(100);
  }
  const std::string maps_after = read_file("/proc/" + std::to_string(pid) + "/maps");
  EXPECT_EQ(maps_after == maps, way_home == WayHomeIs::Laid) << maps_after;
  EXPECT_EQ(write(victim.to_.get(), "x", 1), 1);
  char verdict = 0;
  EXPECT_EQ(read(victim.from_.get(), &verdict, 1), 1);
  EXPECT_EQ(verdict, 'y');
  EXPECT_EQ(victim.exit_status(), 0);
}

INSTANTIATE_TEST_SUITE_P(Moments, TracerDies,
                         testing::Combine(testing::Values(DiesWhen::Mapped, DiesWhen::ScriptRuns,
                                                          DiesWhen::ScriptHasRun),
                                          testing::Values(WayHomeIs::Laid, WayHomeIs::Missing)));

TEST(OwnCode, IsFoundAndRecognised) {
  Victim victim(read_one_byte_and_report);
  OwnCodeFinder finder;
  const auto code = finder.find(victim.pid_, procfs::read_maps(victim.pid_));
  ASSERT_TRUE(code);
  std::array<std::byte, OwnCodeFinder::kCallBytes> call{};
  std::array<std::byte, OwnCodeFinder::kRestorerBytes> restorer{};
  RemoteMemory(victim.pid_).read(code->call, call);
  RemoteMemory(victim.pid_).read(code->restorer, restorer);
  EXPECT_TRUE(OwnCodeFinder::matches(*code, call, restorer));
  std::swap(restorer[0], restorer[1]);
  EXPECT_FALSE(OwnCodeFinder::matches(*code, call, restorer));
  std::swap(restorer[0], restorer[1]);
  call[2] = std::byte{0x90};
  EXPECT_FALSE(OwnCodeFinder::matches(*code, call, restorer));
  EXPECT_FALSE(finder.find(victim.pid_, {}));
}

TEST(FreeRange, IsOutsideEverythingAndPageAligned) {
  const std::vector<std::pair<uint64_t, uint64_t>> used = {
      {0x10000000, 0x20000000}, {0x555500000000, 0x555500100000}, {0x7f0000000000, 0x7fffff000000}};
  const uint64_t at = free_range(used, 12345);
  EXPECT_EQ(at % 4096, 0U);
  for (const auto& [start, end] : used) {
    EXPECT_TRUE(at + 12345 <= start || at >= end);
  }
  EXPECT_THROW((void)free_range({{0, 0x7ffffffff000}}, 4096), Error);
}

}  // namespace
}  // namespace godwit
