// Threads in every kind of waiting, one that computes, and a stopped child:
// none of them must notice that it was looked at. Unlike the other workloads it
// is meant to be dumped while it runs on.
#include <dirent.h>
#include <linux/futex.h>
#include <poll.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "tests/workloads/workload.h"

namespace {

std::atomic<bool> ending = false;
std::atomic<int> children_changed = 0;
std::atomic<int> started = 0;
std::atomic<int> woken = 0;

/// Sleeps of a known length, again and again: neither cut short, nor
/// interrupted, nor begun anew.
void sleep_and_measure() {
  ++started;
  constexpr uint64_t kLength = 150'000'000;
  // The time for which the tree stands still, and a busy machine, come on top.
  constexpr uint64_t kSlack = 5'000'000'000;
  while (!ending) {
    const timespec length{0, kLength};
    const uint64_t start = workload::now_ns();
    if (!workload::check_equal(nanosleep(&length, nullptr), 0, "the result of nanosleep")) {
      return;
    }
    const uint64_t slept = workload::now_ns() - start;
    workload::check(slept >= kLength, "nanosleep lasts as long as asked");
    workload::check(slept < kLength + kSlack, "nanosleep doesn't last longer than asked");
  }
}

std::atomic<uint32_t> futex_word = 0;

void wait_on_futex() {
  ++started;
  const long result = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  workload::check(ending && result == 0, "the futex wait ends when it is woken, not before");
  ++woken;
}

void wait_in_poll(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  ++started;
  const int result = poll(&wanted, 1, -1);
  workload::check(ending && result == 1, "poll ends when there is something, not before");
  ++woken;
}

void wait_in_read(int fd) {
  char byte = 0;
  ++started;
  const ssize_t result = read(fd, &byte, 1);
  workload::check(ending && result == 1 && byte == 'x', "read ends when there is something, not before");
  ++woken;
}

void on_signal(int) {}

void wait_in_sigsuspend() {
  sigset_t before;
  sigset_t during;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  sigfillset(&during);
  sigdelset(&during, SIGUSR1);
  ++started;
  const int result = sigsuspend(&during);
  workload::check(ending && result == -1 && errno == EINTR, "sigsuspend ends by its signal, not before");
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  workload::check(memcmp(&before, &after, sizeof before) == 0, "the signal mask after sigsuspend");
  ++woken;
}

/// Fills all vector registers, computes for a while, and stores them again,
/// within one asm statement.
#define EACH_REGISTER(what, size)                                                                           \
  what(0, size) what(1, size) what(2, size) what(3, size) what(4, size) what(5, size) what(6, size)         \
      what(7, size) what(8, size) what(9, size) what(10, size) what(11, size) what(12, size) what(13, size) \
          what(14, size) what(15, size)
#define LOAD_YMM(n, size) "vmovdqu " #n "*" #size "(%[in]), %%ymm" #n "\n\t"
#define STORE_YMM(n, size) "vmovdqu %%ymm" #n ", " #n "*" #size "(%[out])\n\t"
#define LOAD_XMM(n, size) "movdqu " #n "*" #size "(%[in]), %%xmm" #n "\n\t"
#define STORE_XMM(n, size) "movdqu %%xmm" #n ", " #n "*" #size "(%[out])\n\t"
#define COMPUTE                       \
  "mov $0x1122334455667788, %%r8\n\t" \
  "mov %%r8, %%r15\n\t"               \
  "mov $5000000, %%rcx\n\t"           \
  "1: add $3, %%r8\n\t"               \
  "dec %%rcx\n\t"                     \
  "jnz 1b\n\t"                        \
  "sub %%r15, %%r8\n\t"               \
  "mov %%r8, %[sum]\n\t"
#define CLOBBERS                                                                                      \
  "rcx", "r8", "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
      "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

void compute() {
  constexpr size_t kRegisters = 16;
  const bool wide = __builtin_cpu_supports("avx2") != 0;
  const size_t size = wide ? 32 : 16;
  std::vector<unsigned char> in(kRegisters * size);
  std::vector<unsigned char> out(kRegisters * size);
  unsigned seed = 1;
  ++started;
  while (!ending) {
    for (unsigned char& byte : in) {
      byte = static_cast<unsigned char>((seed = seed * 1103515245 + 12345) >> 3);
    }
    uint64_t sum = 0;
    if (wide) {
      asm volatile(EACH_REGISTER(LOAD_YMM, 32) COMPUTE EACH_REGISTER(STORE_YMM, 32) "vzeroupper\n\t"
                   : [sum] "=&r"(sum)
                   : [in] "r"(in.data()), [out] "r"(out.data())
                   : CLOBBERS);
    } else {
      asm volatile(EACH_REGISTER(LOAD_XMM, 16) COMPUTE EACH_REGISTER(STORE_XMM, 16)
                   : [sum] "=&r"(sum)
                   : [in] "r"(in.data()), [out] "r"(out.data())
                   : CLOBBERS);
    }
    workload::check(in == out, "vector registers keep their values");
    workload::check_equal(static_cast<long long>(sum), 15000000, "the sum in a general register");
  }
}

/// How many threads of this process sleep.
int sleeping_threads() {
  int sleeping = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = readdir(tasks)) {
    FILE* stat = fopen((std::string("/proc/self/task/") + entry->d_name + "/stat").c_str(), "re");
    char state = 0;
    sleeping += stat != nullptr && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'S' ? 1 : 0;
    if (stat != nullptr) {
      fclose(stat);
    }
  }
  closedir(tasks);
  return sleeping;
}

void on_child(int) {
  ++children_changed;
}

pid_t stopped_child() {
  const pid_t child = static_cast<pid_t>(workload::must(fork(), "fork"));
  if (child == 0) {
    raise(SIGSTOP);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  workload::check(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "the child has stopped");
  return child;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGUSR1, &action, nullptr);
  action.sa_handler = on_child;
  action.sa_flags = SA_RESTART;
  sigaction(SIGCHLD, &action, nullptr);
  const pid_t child = stopped_child();

  // Signals are for the thread that waits for them, or for this one.
  sigset_t others;
  sigemptyset(&others);
  sigaddset(&others, SIGCHLD);
  sigaddset(&others, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &others, nullptr);
  int poll_pipe[2];
  int read_pipe[2];
  workload::must(pipe(poll_pipe), "pipe");
  workload::must(pipe(read_pipe), "pipe");
  std::vector<std::thread> threads;
  threads.emplace_back(sleep_and_measure);
  threads.emplace_back(wait_on_futex);
  threads.emplace_back(wait_in_poll, poll_pipe[0]);
  threads.emplace_back(wait_in_read, read_pipe[0]);
  threads.emplace_back(wait_in_sigsuspend);
  const pthread_t suspended = threads.back().native_handle();
  threads.emplace_back(compute);
  sigset_t only_children;
  sigemptyset(&only_children);
  sigaddset(&only_children, SIGCHLD);
  pthread_sigmask(SIG_UNBLOCK, &only_children, nullptr);

  // All but the one that computes are where they wait.
  while (started < static_cast<int>(threads.size()) ||
         sleeping_threads() < static_cast<int>(threads.size()) - 1) {
    workload::pause_ms(1);
  }
  const int changed_before = children_changed;
  workload::say_ready();
  workload::wait_to_go_on();
  workload::check_equal(woken, 0, "the number of threads that stopped waiting");
  workload::check_equal(children_changed, changed_before, "the number of SIGCHLD");
  workload::check_equal(waitpid(child, nullptr, WNOHANG | WUNTRACED | WCONTINUED), 0,
                        "news of the stopped child");

  ending = true;
  futex_word = 1;
  while (woken < 1) {
    syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    workload::pause_ms(1);
  }
  workload::must(write(poll_pipe[1], "x", 1), "write");
  workload::must(write(read_pipe[1], "x", 1), "write");
  pthread_kill(suspended, SIGUSR1);
  for (std::thread& thread : threads) {
    thread.join();
  }
  kill(child, SIGCONT);
  workload::expect_end(child);
  workload::finish();
}
