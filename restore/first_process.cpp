#include "restore/first_process.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <exception>

#include "kernel/blocked_signals.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/namespace.h"
#include "restore/first_clone.h"

namespace godwit {

namespace {

// How far each side has come.
enum Phase : uint32_t { kBegun = 1, kFurnished = 2, kIndependent = 3, kFailed = 4 };

void post(std::atomic<uint32_t>& word, uint32_t value) {
  word.store(value);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

/// Returns after a tenth of a second at the latest.
void wait_a_while(std::atomic<uint32_t>& word, uint32_t seen) {
  const timespec patience{0, 100'000'000};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &patience, nullptr, 0);
}

bool has_ended(int pidfd) {
  pollfd watched{pidfd, POLLIN, 0};
  return ::poll(&watched, 1, 0) > 0;
}

}  // namespace

struct FirstProcess::Words {
  std::atomic<uint32_t> here;   // how far the coordinator is
  std::atomic<uint32_t> there;  // how far the first process is
  const Region* region;         // at the same address in both
  int region_descriptor;
  uint64_t region_end;
  uint64_t script;
  uint64_t stack;
  char failure[2000];
};

FirstProcess::FirstProcess(const Making& making) {
  void* memory = ::mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw errno_error("cannot map memory for the first process");
  }
  words_ = new (memory) Words{};
  coordinator_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!coordinator_) {
    const int code = errno;
    ::munmap(words_, sizeof(Words));
    throw Error("cannot open a descriptor of this process", code);
  }
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = making.namespaces | CLONE_FILES | CLONE_PIDFD | CLONE_CLEAR_SIGHAND |
                    (making.sibling ? CLONE_PARENT : 0);
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = making.sibling ? 0 : SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(making.pids.data());
  arguments.set_tid_size = making.pids.size();
  pid_t made = -1;
  int code = 0;
  {
    const BlockedSignals blocked;  // there for good: it has no handlers of its own
    made = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
    if (made == 0) {
      live(making);
    }
    code = errno;
  }
  pidfd_ = Fd(pidfd);
  if (made < 0) {
    ::munmap(words_, sizeof(Words));
    throw Error("cannot make the first process in namespaces of its own (its pid may be taken)", code);
  }
  pid_ = made;
  try {
    making.from_outside(pid_);
    post(words_->here, kBegun);
    wait_for(kFurnished);
  } catch (...) {
    end();
    throw;
  }
}

FirstProcess::~FirstProcess() {
  end();
}

void FirstProcess::end() {
  if (!released_ && pid_ != 0) {
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    pollfd ended{pidfd_.get(), POLLIN, 0};
    ::poll(&ended, 1, -1);
    ::waitpid(pid_, nullptr, __WALL);
  }
  ::munmap(words_, sizeof(Words));
}

Fd FirstProcess::namespace_of(const char* kind) const {
  return open_namespace(pid_, kind);
}

void FirstProcess::tell_end() const {
  throw error("the first process of the tree died while its namespaces were being made");
}

void FirstProcess::wait_for(uint32_t phase) {
  for (;;) {
    const uint32_t there = words_->there.load();
    if (there == kFailed) {
      throw Error(words_->failure);
    }
    if (there >= phase) {
      return;
    }
    if (has_ended(pidfd_.get()) && words_->there.load() == there) {
      tell_end();
    }
    check_cancelled();
    wait_a_while(words_->there, there);
  }
}

void FirstProcess::become(const Region& region, uint64_t script) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || ::prlimit(pid_, RLIMIT_NOFILE, &limit, nullptr) != 0) {
    throw errno_error("cannot raise the limit of descriptors of the first process");
  }
  words_->region_descriptor = region.descriptor();
  words_->region_end = region.end();
  words_->script = script;
  words_->stack = region.stack_of(script) + Region::kStackBytes;
  words_->region = &region;
  post(words_->here, kIndependent);
  wait_for(kIndependent);
}

/// In the new process. As a child of somebody else it wouldn't be told that the coordinator has died: it
/// looks.
void FirstProcess::live(const Making& making) noexcept {
  if (!making.sibling) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  const auto wait_until = [this](uint32_t phase) {
    for (uint32_t here = words_->here.load(); here < phase; here = words_->here.load()) {
      if (has_ended(coordinator_.get())) {
        ::_exit(1);
      }
      wait_a_while(words_->here, here);
    }
  };
  try {
    wait_until(kBegun);
    making.inside();
    post(words_->there, kFurnished);
    wait_until(kIndependent);
    unregister_rseq();  // it lies in memory that the script throws away
    words_->region->enter(words_->region_descriptor, words_->region_end, words_->script, words_->stack,
                          [this] {
                            if (::unshare(CLONE_FILES) != 0) {
                              throw errno_error("cannot have a descriptor table of its own");
                            }
                            post(words_->there, kIndependent);
                          });
  } catch (const std::exception& e) {
    fail(e.what());
  }
}

void FirstProcess::fail(const char* words) noexcept {
  const size_t length = std::min(std::strlen(words), sizeof(words_->failure) - 1);
  std::memcpy(words_->failure, words, length);
  post(words_->there, kFailed);
  ::_exit(1);
}

}  // namespace godwit
