#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/ptrace.h"
#include "kernel/remote.h"

namespace godwit {

namespace {

constexpr uint64_t kCodeSegment64 = 0x33;
// include/linux/errno.h: what the kernel keeps for itself.
constexpr int64_t kRestartNoHandler = 514;
constexpr int64_t kRestartBlock = 516;

/// A call that was interrupted before stands as restart_syscall(2), which a new task can't make. Which it
/// was, the program's code says: `mov $number, %eax` in front of the `syscall` instruction.
uint64_t original_call(pid_t tid, uint64_t rip) {
  std::array<unsigned char, 5> code{};
  RemoteMemory(tid).read(rip - 2 - code.size(), std::as_writable_bytes(std::span(code)));
  uint32_t number = 0;
  std::memcpy(&number, &code[1], sizeof number);
  constexpr unsigned char kMoveToEax = 0xb8;
  for (const long call : {SYS_nanosleep, SYS_clock_nanosleep, SYS_poll, SYS_futex}) {
    if (code[0] == kMoveToEax && number == static_cast<uint32_t>(call)) {
      return number;
    }
  }
  log::warning("thread {}: a system call that was interrupted twice will fail with EINTR", tid);
  return SYS_restart_syscall;
}

}  // namespace

void collect_registers(pid_t tid, image::Registers& record) {
  user_regs_struct registers = ptrace::registers(tid);
  if (registers.cs != kCodeSegment64) {
    throw refusal("32-bit code");
  }
  const bool in_system_call = static_cast<int64_t>(registers.orig_rax) >= 0;
  if (in_system_call && static_cast<int64_t>(registers.rax) == -kRestartBlock) {
    if (registers.orig_rax == SYS_restart_syscall) {
      registers.orig_rax = original_call(tid, registers.rip);
    }
    // The rest of its time-out is in the kernel, where nothing can read it: the whole call again.
    registers.rax = static_cast<unsigned long long>(-kRestartNoHandler);
  }
  const auto* words = reinterpret_cast<const unsigned long long*>(&registers);
  record.mutable_general()->Assign(words, words + sizeof(registers) / sizeof(*words));
  const std::vector<std::byte> area = ptrace::xsave(tid);
  record.set_xsave(area.data(), area.size());
}

}  // namespace godwit
