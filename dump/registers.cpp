#include <cerrno>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/ptrace.h"

namespace godwit {

namespace {

constexpr uint64_t kCodeSegment64 = 0x33;
// include/linux/errno.h: what the kernel keeps for itself.
constexpr int64_t kRestartNoHandler = 514;
constexpr int64_t kRestartBlock = 516;

}  // namespace

void collect_registers(pid_t tid, image::Registers& record) {
  user_regs_struct registers = ptrace::registers(tid);
  if (registers.cs != kCodeSegment64) {
    throw refusal("32-bit code");
  }
  const bool in_system_call = static_cast<int64_t>(registers.orig_rax) >= 0;
  if (in_system_call && static_cast<int64_t>(registers.rax) == -kRestartBlock) {
    // The rest of its time-out is in the kernel, where nothing can read it: the whole call again.
    registers.rax = static_cast<unsigned long long>(-kRestartNoHandler);
  }
  const auto* words = reinterpret_cast<const unsigned long long*>(&registers);
  record.mutable_general()->Assign(words, words + sizeof(registers) / sizeof(*words));
  const std::vector<std::byte> area = ptrace::xsave(tid);
  record.set_xsave(area.data(), area.size());
}

}  // namespace godwit
