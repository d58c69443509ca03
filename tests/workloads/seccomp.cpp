// Seccomp: strict mode, filters one upon another, threads with different filters, and a process whose filter
// lets nothing through but what it needs itself.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstddef>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

std::atomic<int> standing{0};
std::atomic<bool> go_on{false};
std::atomic<bool> strict_thread_ended{false};
std::atomic<pid_t> strict_tid{0};

constexpr sock_filter load_number() {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
}

void install(std::vector<sock_filter> filter, unsigned flags = 0) {
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  workload::must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program), "seccomp");
}

/// Fails `number` with `error`, allows the rest.
std::vector<sock_filter> failing(uint32_t number, uint32_t error) {
  return {load_number(), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

/// Allows these, kills for the rest.
std::vector<sock_filter> allowing(const std::vector<uint32_t>& numbers) {
  std::vector<sock_filter> filter = {load_number()};
  for (const uint32_t number : numbers) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  return filter;
}

void expect_error(long number, int error) {
  errno = 0;
  const long result = syscall(number);
  if (result != -1 || errno != error) {
    workload::fail("system call %ld returned %ld, errno %d, not errno %d", number, result, errno, error);
  }
}

void stand() {
  ++standing;
  while (!go_on) {
    workload::pause_ms(3);
  }
}

void* one_filter(void*) {
  install(failing(SYS_getpgrp, 71));
  stand();
  expect_error(SYS_getpgrp, 71);
  workload::check(syscall(SYS_getppid) > 0, "getppid fails where nobody forbids it");
  return nullptr;
}

/// The newest filter runs first, and of two that fail it is the newest whose error counts.
void* stacked_filters(void*) {
  install(failing(SYS_getpgrp, 81));
  install(failing(SYS_getppid, 82), SECCOMP_FILTER_FLAG_LOG);
  install(failing(SYS_getpgrp, 83));
  stand();
  expect_error(SYS_getpgrp, 83);
  expect_error(SYS_getppid, 82);
  return nullptr;
}

void* no_filter(void*) {
  stand();
  workload::check(syscall(SYS_getpgrp) > 0, "getpgrp fails in a thread without a filter");
  return nullptr;
}

/// In strict mode there are read, write, exit and sigreturn. It ends by exit itself: the C library would do
/// more.
void* strict(void*) {
  strict_tid = workload::gettid();
  workload::must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), "PR_SET_SECCOMP");
  ++standing;
  while (!go_on) {
    asm volatile("pause");
  }
  strict_thread_ended = true;
  syscall(SYS_exit, 0);
  return nullptr;
}

/// Dies of everything but the few calls that it makes: those of a dumper or a restorer, too.
[[noreturn]] void narrow_process() {
  install(allowing({SYS_mkdir, SYS_nanosleep, SYS_clock_nanosleep, SYS_access, SYS_openat, SYS_write,
                    SYS_close, SYS_exit_group, SYS_restart_syscall}));
  workload::mark("narrow");
  workload::wait_to_go_on();
  workload::finish_child();
}

void check_mode(const char* mode) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/status", strict_tid.load());
  char text[8192] = {};
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const bool complete = read(fd, text, sizeof text - 1) > 0;
  close(fd);
  workload::check(complete && strstr(text, mode) != nullptr, "the strict thread's mode");
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  // Another user needs it to load filters; in front of root's filters it must stay off.
  if (geteuid() != 0) {
    workload::must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  }
  const pid_t narrow = fork();
  if (narrow == 0) {
    narrow_process();
  }
  workload::wait_for_mark("narrow");
  std::vector<pthread_t> threads;
  for (void* (*body)(void*) : {one_filter, stacked_filters, no_filter, strict}) {
    pthread_t thread{};
    workload::must(-pthread_create(&thread, nullptr, body, nullptr), "pthread_create");
    threads.push_back(thread);
  }
  while (standing < 4) {
    workload::pause_ms(1);
  }
  workload::say_ready();
  workload::wait_to_go_on();
  check_mode("Seccomp:\t1");
  go_on = true;
  while (!strict_thread_ended) {
    workload::pause_ms(1);
  }
  for (size_t i = 0; i < 3; ++i) {
    pthread_join(threads[i], nullptr);
  }
  // A filter for all threads, after restore.
  workload::check(syscall(SYS_getpgrp) > 0, "getpgrp in the leader");
  workload::expect_end(narrow);
  workload::finish();
}
