#include "parasite/parasite.h"

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>

#include "kernel/error.h"
#include "kernel/procfs.h"
#include "kernel/remote.h"
#include "parasite/engine/engine.h"
#include "parasite/remote_call.h"
#include "parasite/signal_frame.h"
#include "parasite/way_home.h"

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

/// The signal comes from an instruction of the thread itself, which would raise it again and again.
bool is_fault(pid_t thread, int stop) {
  siginfo_t info{};
  const bool may_be =
      stop == SIGSEGV || stop == SIGBUS || stop == SIGILL || stop == SIGFPE || stop == SIGTRAP;
  return may_be && ::ptrace(PTRACE_GETSIGINFO, thread, nullptr, &info) == 0 && info.si_code > 0;
}

struct Run {
  ScriptBuilder* script;
  ThreadContext before;
  bool ended = false;  // seen to have ended already
};

/// What OP_FINISH takes: the other threads, where proc(5) tells what they do.
std::vector<std::byte> paths_of_others(std::span<const pid_t> threads) {
  std::vector<std::byte> list(threads.size() * script::THREAD_PATH);
  for (size_t i = 1; i < threads.size(); ++i) {
    const std::string path = fmt::format("/proc/self/task/{}/syscall", threads[i]);
    std::memcpy(&list[(i - 1) * script::THREAD_PATH], path.data(),
                std::min(path.size(), size_t{script::THREAD_PATH - 1}));
  }
  return list;
}

}  // namespace

struct Parasite::State {
  std::vector<pid_t> threads;  // the leader first
  uint64_t address;
  size_t bytes;
  int signal;
  RemoteMemory memory;
  ThreadContext leader;  // as it was
  std::optional<WayHome> way_home;
  uint64_t instruction;  // a `syscall` instruction in the target, where there is no way home
  uint64_t cursor;
  std::map<pid_t, Run> running;
  std::vector<int> held_back;  // signals for the leader

  [[nodiscard]] pid_t pid() const { return threads.front(); }
  void call(uint64_t stack, long number, std::initializer_list<uint64_t> args) const;
  int64_t map(uint64_t start, uint64_t length, int protection) const;
  void map() const;
  void unmap();
  void wait_for_end(pid_t thread, std::vector<int>& held_back) const;
  void end(pid_t thread);
};

Parasite::Parasite(std::span<const pid_t> threads, const std::vector<procfs::Map>& maps,
                   OwnCodeFinder& finder, uint64_t address, size_t bytes)
    : state_(new State{.threads = {threads.begin(), threads.end()},
                       .address = address,
                       .bytes = bytes,
                       .signal = quiet_signal(threads.front()),
                       .memory = RemoteMemory(threads.front()),
                       .leader = ThreadContext::of(threads.front()),
                       .way_home = std::nullopt,
                       .instruction = 0,
                       .cursor = address + page_up(engine_code().size()),
                       .running = {},
                       .held_back = {}}) {
  State& s = *state_;
  s.way_home = WayHome::lay(s.pid(), s.leader, maps, finder, address, bytes);
  if (!s.way_home) {
    s.instruction = find_syscall_instruction(s.pid(), s.pid());
  }
  try {
    s.map();
    s.memory.write(address, engine_code());
  } catch (...) {
    s.unmap();
    throw;
  }
}

/// Makes a system call in the leader. Without a way home the leader is then as it was.
void Parasite::State::call(uint64_t stack, long number, std::initializer_list<uint64_t> args) const {
  const CallSite site =
      way_home ? CallSite{way_home->call(), stack} : CallSite{instruction, leader.general.rsp};
  inject_call(leader, site, number, args);
}

int64_t Parasite::State::map(uint64_t start, uint64_t length, int protection) const {
  constexpr uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  call(way_home ? way_home->stack_to_unmap() : 0, SYS_mmap,
       {start, length, static_cast<uint64_t>(protection), kFlags, ~uint64_t{0}, 0});
  const auto result = static_cast<int64_t>(ThreadContext::of(pid()).general.rax);
  if (!way_home) {
    leader.put_back(pid());
  }
  return result;
}

void Parasite::State::map() const {
  int64_t result = map(address, bytes, PROT_READ | PROT_WRITE | PROT_EXEC);
  if (result == -EACCES) {
    // The task forbids itself memory that is writable and executable (PR_SET_MDWE): code apart from data.
    // The code is written through /proc/PID/mem.
    const uint64_t code = page_up(engine_code().size());
    result = map(address, code, PROT_READ | PROT_EXEC);
    if (result >= 0) {
      result = map(address + code, bytes - code, PROT_READ | PROT_WRITE);
    }
  }
  if (result < 0) {
    throw Error(fmt::format("task {}: cannot map {} bytes for the parasite", pid(), bytes),
                static_cast<int>(-result));
  }
}

/// Also where nothing, or not all, is mapped. The leader is then as it was.
void Parasite::State::unmap() {
  call(way_home ? way_home->stack_to_resume() : 0, SYS_munmap, {address, bytes});
  leader.put_back(pid());
  if (way_home) {
    way_home->take_up();
  }
  for (const int signal_held_back : held_back) {
    ::syscall(SYS_tgkill, pid(), pid(), signal_held_back);
  }
}

Parasite::~Parasite() {
  State& s = *state_;
  try {
    for (const pid_t thread : s.threads) {
      if (thread != s.pid() && s.running.contains(thread)) {
        s.end(thread);
      }
    }
    if (s.running.contains(s.pid())) {
      s.end(s.pid());
    }
    s.unmap();
  } catch (const Error&) {
    // The task has been killed; there is nothing left to put back.
  }
}

uint64_t Parasite::next_script_address() const {
  return state_->cursor;
}

void Parasite::start(pid_t tid, ScriptBuilder& script) {
  State& s = *state_;
  const bool by_way_home = tid == s.pid() && s.way_home;
  const ThreadContext before = tid == s.pid() ? s.leader : ThreadContext::of(tid);
  Leaving leaving{.signal = s.signal, .start = s.address, .end = s.address + s.bytes};
  if (by_way_home) {
    leaving.frame = s.way_home->unmap_frame();
    leaving.frame_beside = s.way_home->resume_frame();
    leaving.others = s.threads.size() > 1 ? script.bytes(paths_of_others(s.threads)) : 0;
  }
  // Behind the script: the stack, then the frame by which the thread would resume without us.
  const uint64_t stack = (script.base() + script.size() + sizeof(script::Op) + 63) & ~uint64_t{63};
  const uint64_t frame = stack + kStackBytes;
  std::vector<std::byte> frame_bytes;
  if (!by_way_home) {
    leaving.frame = frame;
    frame_bytes = signal_frame(before, frame);
  }
  script.finish(leaving);
  const uint64_t end = frame + frame_bytes.size();
  if (script.base() != s.cursor || end > s.address + s.bytes) {
    throw error("task {}: the parasite has no room for another script", s.pid());
  }
  s.cursor = (end + 63) & ~uint64_t{63};

  std::vector<std::byte> bytes(script.size());
  script.write_to(bytes);
  s.memory.write(script.base(), bytes);
  s.memory.write(frame, frame_bytes);

  ThreadContext run = before;
  run.blocked = ~(uint64_t{1} << (s.signal - 1));
  run.general.rip = s.address;
  run.general.rdi = script.base();
  run.general.rsp = stack + kStackBytes;
  run.general.orig_rax = ~0ULL;            // no system call to be restarted
  run.general.eflags &= ~uint64_t{0x500};  // direction and trap flag
  s.running.emplace(tid, Run{.script = &script, .before = before});
  run.apply(tid);
  if (::ptrace(PTRACE_CONT, tid, nullptr, nullptr) != 0) {
    throw errno_error("task {}: cannot resume thread {}", s.pid(), tid);
  }
}

void Parasite::State::wait_for_end(pid_t thread, std::vector<int>& held_back_now) const {
  for (;;) {
    const int stop = wait_for_stop(thread);
    if (stop == signal) {
      siginfo_t info{};
      if (::ptrace(PTRACE_GETSIGINFO, thread, nullptr, &info) == 0 && info.si_code == SI_TKILL) {
        return;
      }
    }
    if (is_fault(thread, stop)) {
      throw error("injected code failed in thread {}: {}", thread, ::sigdescr_np(stop));
    }
    // Something else stopped it (a stop signal, an interrupt that came late): not ours, go on. A signal that
    // is held back by that is sent again when the thread is as it was.
    if (stop >> 8 == 0) {
      held_back_now.push_back(stop);
    }
    ::ptrace(PTRACE_CONT, thread, nullptr, nullptr);
  }
}

/// The thread is as it was; the leader still in the engine, from which it knows its way home.
void Parasite::State::end(pid_t thread) {
  const Run run = running.at(thread);
  running.erase(thread);
  if (thread == pid()) {
    if (!run.ended) {
      wait_for_end(thread, held_back);
    }
    if (!way_home) {
      leader.put_back(thread);
    }
    return;
  }
  std::vector<int> held_back_here;
  if (!run.ended) {
    wait_for_end(thread, held_back_here);
  }
  run.before.put_back(thread);
  for (const int signal_held_back : held_back_here) {
    ::syscall(SYS_tgkill, pid(), thread, signal_held_back);
  }
}

int Parasite::signal() const {
  return state_->signal;
}

bool Parasite::wait_for_pause(pid_t tid) {
  State& s = *state_;
  Run& run = s.running.at(tid);
  s.wait_for_end(tid, s.held_back);
  const auto script = s.memory.read(remote_ptr<script::Script>(run.script->base()));
  run.ended = script.state != script::SCRIPT_RUNNING;
  return !run.ended;
}

void Parasite::go_on(pid_t tid) {
  if (::ptrace(PTRACE_CONT, tid, nullptr, nullptr) != 0) {
    throw errno_error("task {}: cannot resume thread {}", state_->pid(), tid);
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
