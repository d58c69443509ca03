#include "parasite/parasite.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <map>
#include <optional>

#include "kernel/error.h"
#include "kernel/procfs.h"
#include "kernel/remote.h"
#include "parasite/engine/engine.h"
#include "parasite/remote_call.h"
#include "parasite/signal_frame.h"

namespace godwit {

namespace {

constexpr size_t kStackBytes = 4096;

constexpr uint64_t page_up(uint64_t value) {
  return (value + 4095) & ~uint64_t{4095};
}

/// A signal whose delivery changes nothing unless a tracer looks: ignored by default, without a handler
/// here, and not pending.
int quiet_signal(pid_t pid) {
  const procfs::Status status = procfs::read_status(pid, pid);
  const uint64_t busy = status.caught | status.blocked | status.pending | status.shared_pending;
  for (const int signal : {SIGURG, SIGWINCH, SIGCHLD}) {
    if ((busy >> (signal - 1) & 1) == 0) {
      return signal;
    }
  }
  return SIGURG;
}

struct Run {
  ScriptBuilder* script;
  ThreadState before;
};

}  // namespace

struct Parasite::State {
  pid_t pid;
  pid_t tid;
  uint64_t address;
  size_t bytes;
  int signal;
  uint64_t instruction;  // a `syscall` instruction in the target
  RemoteMemory memory;
  uint64_t cursor;
  std::map<pid_t, Run> running;

  void map();
  void wait_for_end(pid_t thread, std::vector<int>& held_back) const;
  void end(pid_t thread);
};

Parasite::Parasite(pid_t pid, pid_t tid, uint64_t address, size_t bytes)
    : state_(new State{.pid = pid,
                       .tid = tid,
                       .address = address,
                       .bytes = bytes,
                       .signal = quiet_signal(pid),
                       .instruction = find_syscall_instruction(pid, tid),
                       .memory = RemoteMemory(pid),
                       .cursor = address + page_up(engine_code().size()),
                       .running = {}}) {
  state_->map();
  try {
    state_->memory.write(address, engine_code());
  } catch (...) {
    remote_call(tid, state_->instruction, SYS_munmap, {address, bytes});
    throw;
  }
}

void Parasite::State::map() {
  constexpr uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  const auto injected = [&](uint64_t start, uint64_t length, uint64_t protection) {
    return remote_call(tid, instruction, SYS_mmap, {start, length, protection, kFlags, ~uint64_t{0}, 0});
  };
  int64_t result = injected(address, bytes, PROT_READ | PROT_WRITE | PROT_EXEC);
  if (result == -EACCES) {
    // The task forbids itself memory that is writable and executable (PR_SET_MDWE): code apart from data.
    // The code is written through /proc/PID/mem.
    const uint64_t code = page_up(engine_code().size());
    result = injected(address, code, PROT_READ | PROT_EXEC);
    if (result >= 0 && injected(address + code, bytes - code, PROT_READ | PROT_WRITE) < 0) {
      remote_call(tid, instruction, SYS_munmap, {address, code});
      result = -ENOMEM;
    }
  }
  if (result < 0) {
    throw Error(fmt::format("task {}: cannot map {} bytes for the parasite", pid, bytes),
                static_cast<int>(-result));
  }
}

Parasite::~Parasite() {
  try {
    while (!state_->running.empty()) {
      state_->end(state_->running.begin()->first);
    }
    remote_call(state_->tid, state_->instruction, SYS_munmap, {state_->address, state_->bytes});
  } catch (const Error&) {
    // The task has been killed; there is nothing left to put back.
  }
}

uint64_t Parasite::next_script_address() const {
  return state_->cursor;
}

void Parasite::start(pid_t tid, ScriptBuilder& script) {
  State& s = *state_;
  const ThreadState before = ThreadState::of(tid);
  // Behind the script: the stack, then the frame by which the thread would resume without us.
  const uint64_t stack = (script.base() + script.size() + sizeof(script::Op) + 63) & ~uint64_t{63};
  const uint64_t frame = stack + kStackBytes;
  const std::vector<std::byte> frame_bytes = signal_frame(before, frame);
  script.finish(s.signal, frame);
  const uint64_t end = frame + frame_bytes.size();
  if (script.base() != s.cursor || end > s.address + s.bytes) {
    throw error("task {}: the parasite has no room for another script", s.pid);
  }
  s.cursor = (end + 63) & ~uint64_t{63};

  std::vector<std::byte> bytes(script.size());
  script.write_to(bytes);
  s.memory.write(script.base(), bytes);
  s.memory.write(frame, frame_bytes);

  ThreadState run = before;
  run.blocked = ~(uint64_t{1} << (s.signal - 1));
  run.general.rip = s.address;
  run.general.rdi = script.base();
  run.general.rsp = stack + kStackBytes;
  run.general.orig_rax = ~0ULL;            // no system call to be restarted
  run.general.eflags &= ~uint64_t{0x500};  // direction and trap flag
  s.running.emplace(tid, Run{&script, before});
  run.apply(tid);
  if (::ptrace(PTRACE_CONT, tid, nullptr, nullptr) != 0) {
    throw errno_error("task {}: cannot resume thread {}", s.pid, tid);
  }
}

void Parasite::State::wait_for_end(pid_t thread, std::vector<int>& held_back) const {
  for (;;) {
    const int stop = wait_for_stop(thread);
    if (stop == signal) {
      siginfo_t info{};
      if (::ptrace(PTRACE_GETSIGINFO, thread, nullptr, &info) == 0 && info.si_code == SI_TKILL) {
        return;
      }
    }
    // Something else stopped it (a stop signal, an interrupt that came late): not ours, go on. A signal that
    // is held back by that is sent again when the thread is as it was.
    if (stop >> 8 == 0) {
      held_back.push_back(stop);
    }
    ::ptrace(PTRACE_CONT, thread, nullptr, nullptr);
  }
}

void Parasite::State::end(pid_t thread) {
  const Run run = running.at(thread);
  running.erase(thread);
  std::vector<int> held_back;
  wait_for_end(thread, held_back);
  run.before.put_back(thread);
  for (const int signal_held_back : held_back) {
    ::syscall(SYS_tgkill, pid, thread, signal_held_back);
  }
}

void Parasite::collect(pid_t tid) {
  ScriptBuilder& script = *state_->running.at(tid).script;
  state_->end(tid);
  std::vector<std::byte> ran(script.size());
  state_->memory.read(script.base(), ran);
  script.load(ran);
  script::Script header;
  std::memcpy(&header, ran.data(), sizeof header);
  script.check(header);
}

uint64_t free_range(const std::vector<std::pair<uint64_t, uint64_t>>& used, size_t bytes) {
  constexpr uint64_t kLowest = 0x10000000;
  constexpr uint64_t kHighest = 0x7ff000000000;
  uint64_t best_start = 0;
  uint64_t best_size = 0;
  uint64_t cursor = kLowest;
  const auto consider = [&](uint64_t end) {
    if (end > cursor && end - cursor > best_size) {
      best_start = cursor;
      best_size = end - cursor;
    }
  };
  for (const auto& [start, end] : used) {
    consider(std::min(start, kHighest));
    cursor = std::max(cursor, end);
  }
  consider(kHighest);
  const uint64_t size = page_up(bytes);
  if (best_size < size) {
    throw error("the address space has no room for {} bytes", bytes);
  }
  // The middle of the largest hole: far from the heap and from stacks that grow.
  return best_start + ((best_size - size) / 2 & ~uint64_t{4095});
}

}  // namespace godwit
