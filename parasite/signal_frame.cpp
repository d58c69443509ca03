#include "parasite/signal_frame.h"

#include <asm/sigcontext.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

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

std::vector<std::byte> signal_frame(const ThreadState& state, uint64_t address) {
  constexpr size_t kXsaveOffset = (sizeof(Context) + 63) & ~size_t{63};
  std::vector<std::byte> frame(kXsaveOffset + kMaxXsave);
  iovec xsave{frame.data() + kXsaveOffset, kMaxXsave - 64};
  if (::ptrace(PTRACE_GETREGSET, state.tid, NT_X86_XSTATE, &xsave) != 0) {
    throw errno_error("cannot read the vector registers of thread {}", state.tid);
  }
  // ptrace leaves XCR0 in the software-reserved bytes; sigreturn wants to see magic numbers and sizes there.
  std::byte* area = frame.data() + kXsaveOffset;
  _fpx_sw_bytes software{};
  std::memcpy(&software.xfeatures, area + offsetof(_fpstate, sw_reserved), sizeof software.xfeatures);
  software.magic1 = FP_XSTATE_MAGIC1;
  software.xstate_size = static_cast<uint32_t>(xsave.iov_len);
  software.extended_size = software.xstate_size + FP_XSTATE_MAGIC2_SIZE;
  std::memcpy(area + offsetof(_fpstate, sw_reserved), &software, sizeof software);
  const uint32_t magic = FP_XSTATE_MAGIC2;
  std::memcpy(area + xsave.iov_len, &magic, sizeof magic);

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
  r.fpstate = reinterpret_cast<_fpstate*>(address + kXsaveOffset);  // NOLINT: an address in the target
  std::memcpy(frame.data(), &context, sizeof context);
  frame.resize(kXsaveOffset + xsave.iov_len + sizeof magic);
  return frame;
}

}  // namespace godwit
