#include "tests/e2e/system_call_driver.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <thread>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::e2e {

namespace {

constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;

void* as_data(long value) {
  return reinterpret_cast<void*>(value);
}

pid_t start(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    const int in = open("/dev/null", O_RDONLY);
    dup2(in, 0);
    dup2(output, 1);
    dup2(output, 2);
    syscall(SYS_close_range, 3U, ~0U, 0U);
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) ||
      ptrace(static_cast<__ptrace_request>(PTRACE_SETOPTIONS), pid, nullptr, as_data(kOptions)) != 0) {
    throw errno_error("cannot trace {}", command[0]);
  }
  return pid;
}

/// One run, from the first stop to the end.
class Driver {
 public:
  Driver(pid_t pid, int signal, long at, pid_t victim)
      : pid_(pid), signal_(signal), at_(at), victim_(victim), threads_({pid}) {}

  void run(DrivenEnd& end, double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::microseconds(static_cast<long>(seconds * 1e6));
    go_on(pid_, 0);
    while (!threads_.empty()) {
      if (Clock::now() > deadline) {
        kill(pid_, SIGKILL);
      }
      if (!step(end)) {
        std::this_thread::yield();
      }
    }
  }

 private:
  /// Looks at each of our threads by its id: the test has other children that mustn't be reaped here.
  bool step(DrivenEnd& end) {
    bool something = false;
    for (const pid_t tid : std::set<pid_t>(threads_)) {
      int status = 0;
      const pid_t waited = waitpid(tid, &status, WNOHANG | __WALL);
      if (waited == 0) {
        continue;
      }
      something = true;
      if (waited < 0 || !WIFSTOPPED(status)) {
        threads_.erase(tid);
        entered_.erase(tid);
        if (tid == pid_) {
          end.status = waited < 0 ? -1 : status;
          // The leader's end is reported last.
          threads_.clear();
        }
        continue;
      }
      stopped(tid, status, end);
    }
    return something;
  }

  void stopped(pid_t tid, int status, DrivenEnd& end) {
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    if (signal == (SIGTRAP | 0x80)) {
      if (entered_.erase(tid) == 0) {
        entered_.insert(tid);
        count(tid, end);
      }
      go_on(tid, 0);
    } else if (event == PTRACE_EVENT_CLONE) {
      unsigned long child = 0;
      ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &child);
      threads_.insert(static_cast<pid_t>(child));
      go_on(tid, 0);
    } else if (event != 0 || (signal == SIGSTOP && tid != pid_)) {
      go_on(tid, 0);  // exec, or a new thread's first stop
    } else {
      go_on(tid, signal == SIGSTOP ? 0 : signal);
    }
  }

  void count(pid_t tid, DrivenEnd& end) {
    if (end.signalled || ++end.calls != at_) {
      return;
    }
    end.signalled = true;
    __ptrace_syscall_info info{};
    ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), tid, reinterpret_cast<void*>(sizeof info),
           &info);
    end.number = static_cast<long>(info.entry.nr);
    kill(victim_, signal_);
  }

  static void go_on(pid_t tid, int signal) { ptrace(PTRACE_SYSCALL, tid, nullptr, as_data(signal)); }

  pid_t pid_;
  int signal_;
  long at_;
  pid_t victim_;
  std::set<pid_t> threads_;
  std::set<pid_t> entered_;
};

}  // namespace

DrivenEnd drive(const std::vector<std::string>& command, int signal, long at, double seconds, pid_t victim) {
  const Fd output(memfd_create("output", MFD_CLOEXEC));
  DrivenEnd end;
  const pid_t pid = start(command, output.get());
  Driver(pid, signal, at, victim != 0 ? victim : pid).run(end, seconds);
  lseek(output.get(), 0, SEEK_SET);
  end.output = read_all(output.get(), "output");
  return end;
}

std::string system_call_name(long number) {
  static const std::pair<long, const char*> kNames[] = {
#define NAME(name) {SYS_##name, #name}
      NAME(read),
      NAME(write),
      NAME(open),
      NAME(openat),
      NAME(close),
      NAME(fstat),
      NAME(newfstatat),
      NAME(statx),
      NAME(lseek),
      NAME(mmap),
      NAME(munmap),
      NAME(mprotect),
      NAME(mremap),
      NAME(brk),
      NAME(madvise),
      NAME(ptrace),
      NAME(wait4),
      NAME(waitid),
      NAME(kill),
      NAME(tgkill),
      NAME(readlink),
      NAME(readlinkat),
      NAME(pread64),
      NAME(pwrite64),
      NAME(preadv),
      NAME(pwritev),
      NAME(fsync),
      NAME(fdatasync),
      NAME(rename),
      NAME(renameat),
      NAME(renameat2),
      NAME(mkdir),
      NAME(mkdirat),
      NAME(unlink),
      NAME(unlinkat),
      NAME(rmdir),
      NAME(flock),
      NAME(getdents64),
      NAME(ioctl),
      NAME(fcntl),
      NAME(dup),
      NAME(dup3),
      NAME(kcmp),
      NAME(pidfd_open),
      NAME(pidfd_getfd),
      NAME(clone),
      NAME(clone3),
      NAME(futex),
      NAME(rt_sigaction),
      NAME(rt_sigprocmask),
      NAME(process_vm_readv),
      NAME(process_vm_writev),
      NAME(memfd_create),
      NAME(ftruncate),
      NAME(prctl),
      NAME(execve),
      NAME(exit),
      NAME(exit_group),
      NAME(poll),
      NAME(nanosleep),
      NAME(sched_getaffinity),
      NAME(sched_getattr),
      NAME(getpriority),
      NAME(ioprio_get),
      NAME(getpid),
      NAME(getrandom),
      NAME(uname),
      NAME(access),
      NAME(faccessat),
      NAME(get_robust_list),
      NAME(prlimit64),
      NAME(set_robust_list),
      NAME(rseq),
      NAME(arch_prctl),
      NAME(set_tid_address),
      NAME(pidfd_send_signal),
      NAME(splice),
      NAME(tee),
      NAME(vmsplice),
      NAME(copy_file_range)
#undef NAME
  };
  for (const auto& [known, name] : kNames) {
    if (known == number) {
      return name;
    }
  }
  return std::to_string(number);
}

}  // namespace godwit::e2e
