#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "parasite/remote_call.h"

namespace godwit {

/// The bytes which rt_sigreturn(2) takes as a signal frame, for the stack pointer `address` (64-byte
/// aligned): a thread that makes that call with it is back in `state`, vector registers included, and makes
/// the system call again that it was interrupted in. The alternate signal stack is left alone. See
/// sigreturn(2) and the kernel's arch/x86/include/uapi/asm/sigcontext.h. The thread must be in a ptrace stop.
/// Throws Error.
[[nodiscard]] std::vector<std::byte> signal_frame(const ThreadState& state, uint64_t address);

}  // namespace godwit
