#include "parasite/signal_frame.h"

#include <asm/sigcontext.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "kernel/error.h"

namespace godwit {

namespace {

// The kernel's struct ucontext; glibc's has a larger signal mask.
struct Context {
  uint64_t flags;
  uint64_t link;
  struct {
    uint64_t address;
    int32_t flags;
    uint64_t size;
  } stack;
  sigcontext registers;
  uint64_t blocked;
};

constexpr uint64_t kContextFlags = 1 | 2 | 4;  // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
constexpr int32_t kInvalidStackFlags = 0x7f;   // the kernel ignores a stack that it can't take
constexpr size_t kMaxXsave = 16384;
static_assert(sizeof(Context) == kSignalContextBytes);

/// What rt_sigreturn(2) must find of an xsave area (in its standard format) whose XSTATE_BV is `in_use`: it
/// resets what isn't there.
size_t needed_bytes(uint64_t in_use, size_t whole) {
  constexpr size_t kWithAvx = 832;
  constexpr size_t kWithSse = 576;
  if ((in_use & ~uint64_t{7}) != 0) {
    return whole;
  }
  return std::min(whole, (in_use & 4) != 0 ? kWithAvx : kWithSse);
}

/// The call is made again by the program counter, since rt_sigreturn leaves the kernel nothing to restart.
void restart_interrupted_call(user_regs_struct& registers) {
  if (static_cast<int64_t>(registers.orig_rax) < 0) {
    return;
  }
  const auto result = static_cast<int64_t>(registers.rax);
  if (result == -512 || result == -513 || result == -514 || result == -516) {  // ERESTART*
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
  }
}

}  // namespace

std::vector<std::byte> vector_state(pid_t tid) {
  std::vector<std::byte> area(kMaxXsave);
  iovec xsave{area.data(), kMaxXsave - 64};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &xsave) != 0) {
    throw errno_error("cannot read the vector registers of thread {}", tid);
  }
  uint64_t in_use = 0;
  std::memcpy(&in_use, area.data() + sizeof(_fpstate), sizeof in_use);
  const size_t size = needed_bytes(in_use, xsave.iov_len);
  // ptrace leaves XCR0 in the software-reserved bytes; sigreturn wants to see magic numbers and sizes there.
  _fpx_sw_bytes software{};
  std::memcpy(&software.xfeatures, area.data() + offsetof(_fpstate, sw_reserved), sizeof software.xfeatures);
  if (size < xsave.iov_len) {
    software.xfeatures &= (in_use & 4) != 0 ? 7 : 3;
  }
  software.magic1 = FP_XSTATE_MAGIC1;
  software.xstate_size = static_cast<uint32_t>(size);
  software.extended_size = software.xstate_size + FP_XSTATE_MAGIC2_SIZE;
  std::memcpy(area.data() + offsetof(_fpstate, sw_reserved), &software, sizeof software);
  const uint32_t magic = FP_XSTATE_MAGIC2;
  std::memcpy(area.data() + size, &magic, sizeof magic);
  area.resize(size + sizeof magic);
  return area;
}

void write_signal_context(std::span<std::byte, kSignalContextBytes> out, const ThreadContext& state,
                          uint64_t vectors) {
  user_regs_struct general = state.general;
  restart_interrupted_call(general);
  Context context{};
  context.flags = kContextFlags;
  context.stack.flags = kInvalidStackFlags;
  context.blocked = state.blocked;
  sigcontext& r = context.registers;
  r.r8 = general.r8;
  r.r9 = general.r9;
  r.r10 = general.r10;
  r.r11 = general.r11;
  r.r12 = general.r12;
  r.r13 = general.r13;
  r.r14 = general.r14;
  r.r15 = general.r15;
  r.rdi = general.rdi;
  r.rsi = general.rsi;
  r.rbp = general.rbp;
  r.rbx = general.rbx;
  r.rdx = general.rdx;
  r.rax = general.rax;
  r.rcx = general.rcx;
  r.rsp = general.rsp;
  r.rip = general.rip;
  r.eflags = general.eflags;
  r.cs = static_cast<__u16>(general.cs);
  r.ss = static_cast<__u16>(general.ss);
  r.fpstate = reinterpret_cast<_fpstate*>(vectors);  // NOLINT: an address in the target
  std::memcpy(out.data(), &context, sizeof context);
}

std::vector<std::byte> signal_frame(const ThreadContext& state, uint64_t address) {
  constexpr size_t kVectors = (kSignalContextBytes + 63) & ~size_t{63};
  std::vector<std::byte> frame(kVectors);
  write_signal_context(std::span(frame).first<kSignalContextBytes>(), state, address + kVectors);
  const std::vector<std::byte> vectors = vector_state(state.tid);
  frame.insert(frame.end(), vectors.begin(), vectors.end());
  return frame;
}

}  // namespace godwit
