// A small tree whose every thread beats: for tests that interrupt a dump or a restore and ask whether all go
// on. Three processes with three threads each; memory, shared and private, and a pipe. A second argument puts
// a seccomp filter on all of them: "container", as those of container engines, that makes some calls fail, or
// "narrow", which ends whoever makes a call that the program itself doesn't need.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstddef>
#include <string_view>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr int kProcesses = 3;
constexpr int kThreads = 3;
constexpr size_t kPage = 4096;
constexpr size_t kPages = 64;

struct Shared {
  std::atomic<uint64_t> beats[kProcesses][kThreads];
  std::atomic<bool> stop;
};

Shared* shared = nullptr;
unsigned char* memory = nullptr;

struct Argument {
  int process;
  int thread;
};

/// Each beat uses values that live in registers and on the stack across a system call.
void beat(int process, int thread) {
  uint64_t checksum = 1;
  uint64_t count = 0;
  while (!shared->stop) {
    checksum = checksum * 6364136223846793005U + 1442695040888963407U;
    ++count;
    ++shared->beats[process][thread];
    workload::pause_ms(1);
    if (shared->beats[process][thread] != count) {
      workload::fail("process %d thread %d: a beat was lost or done twice", process, thread);
      break;
    }
  }
  uint64_t again = 1;
  for (uint64_t i = 0; i < count; ++i) {
    again = again * 6364136223846793005U + 1442695040888963407U;
  }
  workload::check(checksum == again, "a value kept in registers");
}

void* thread_body(void* argument) {
  const auto* mine = static_cast<Argument*>(argument);
  beat(mine->process, mine->thread);
  return nullptr;
}

/// A thread that has beaten has its final signal mask.
bool all_beat() {
  for (const auto& process : shared->beats) {
    for (const auto& beats : process) {
      if (beats == 0) {
        return false;
      }
    }
  }
  return true;
}

void live(int process) {
  for (size_t i = 0; i < kPages * kPage; i += 512) {
    memory[i] = static_cast<unsigned char>(i / 512 + static_cast<size_t>(process));
  }
  pthread_t threads[kThreads - 1];
  Argument arguments[kThreads - 1];
  for (int i = 0; i < kThreads - 1; ++i) {
    arguments[i] = {process, i + 1};
    workload::must(-pthread_create(&threads[i], nullptr, thread_body, &arguments[i]), "pthread_create");
  }
  const pid_t child = process + 1 < kProcesses ? fork() : 0;
  if (process + 1 < kProcesses && child == 0) {
    live(process + 1);
    workload::finish_child();
  }
  uint64_t last = 0;
  while (!workload::exists("go")) {
    ++shared->beats[process][0];
    workload::pause_ms(1);
    const uint64_t now = shared->beats[process][0];
    workload::check(now == last + 1, "a beat of a leader");
    last = now;
    if (process == 0 && !workload::exists("ready") && all_beat()) {
      workload::say_ready();
    }
  }
  shared->stop = true;
  for (const pthread_t thread : threads) {
    pthread_join(thread, nullptr);
  }
  for (size_t i = 0; i < kPages * kPage; i += 512) {
    if (memory[i] != static_cast<unsigned char>(i / 512 + static_cast<size_t>(process))) {
      workload::fail("process %d: private memory at %zu", process, i);
      break;
    }
  }
  if (process + 1 < kProcesses) {
    workload::expect_end(child);
  }
}

void filter(const std::vector<long>& numbers, uint32_t those, uint32_t others) {
  std::vector<sock_filter> program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const long number : numbers) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, those));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, others));
  const sock_fprog all{static_cast<unsigned short>(program.size()), program.data()};
  workload::must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  workload::must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all), "seccomp");
}

void filter(std::string_view kind) {
  if (kind == "container") {
    filter({SYS_ptrace, SYS_mount, SYS_kexec_load, SYS_bpf, SYS_process_vm_readv, SYS_setns},
           SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW);
  } else if (kind == "narrow") {
    filter({SYS_access,
            SYS_clock_nanosleep,
            SYS_nanosleep,
            SYS_restart_syscall,
            SYS_mkdir,
            SYS_openat,
            SYS_read,
            SYS_write,
            SYS_close,
            SYS_pipe2,
            SYS_mmap,
            SYS_mprotect,
            SYS_madvise,
            SYS_brk,
            SYS_clone,
            SYS_clone3,
            SYS_set_robust_list,
            SYS_rseq,
            SYS_rt_sigaction,
            SYS_rt_sigprocmask,
            SYS_futex,
            SYS_wait4,
            SYS_exit,
            SYS_exit_group},
           SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  filter(argc > 2 ? argv[2] : "");
  void* place = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  shared = static_cast<Shared*>(place);
  place = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  memory = static_cast<unsigned char*>(place);
  int ends[2];
  workload::must(pipe2(ends, O_CLOEXEC), "pipe2");
  workload::must(write(ends[1], "waiting", 7), "write");
  live(0);
  char text[8] = {};
  workload::check(read(ends[0], text, 7) == 7 && strcmp(text, "waiting") == 0, "what waited in the pipe");
  workload::finish();
}
