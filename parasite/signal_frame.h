#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "parasite/remote_call.h"

namespace godwit {

/// The bytes which rt_sigreturn(2) takes as a signal frame, for the stack pointer `address` (64-byte
/// aligned): a thread that makes that call with it is back in `state`, vector registers included, and makes
/// the system call again that it was interrupted in. The alternate signal stack is left alone. See
/// sigreturn(2) and the kernel's arch/x86/include/uapi/asm/sigcontext.h. The thread must be in a ptrace stop.
/// Throws Error.
[[nodiscard]] std::vector<std::byte> signal_frame(const ThreadContext& state, uint64_t address);

// The two parts of such a frame, which needn't lie together; several contexts can share the vector registers.

/// The vector registers of a thread in a ptrace stop, as far as they are in use; to lie at an address that is
/// a multiple of 64. Throws Error.
[[nodiscard]] std::vector<std::byte> vector_state(pid_t tid);
constexpr size_t kSignalContextBytes = 304;
/// The rest, which takes the vector registers from `vectors`.
void write_signal_context(std::span<std::byte, kSignalContextBytes> out, const ThreadContext& state,
                          uint64_t vectors);

}  // namespace godwit
