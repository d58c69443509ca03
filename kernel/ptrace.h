#pragma once

#include <linux/filter.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

/// ptrace(2) with types. All throw Error with the thread's number unless said otherwise; the calling
/// thread must be the tracer and, but for seize, interrupt and wait, the thread must stand in a stop.
namespace godwit::ptrace {

/// PTRACE_SEIZE. Returns 0 or an errno: who could be seized is the caller's policy.
[[nodiscard]] int seize(pid_t tid, uint64_t options);
/// PTRACE_SETOPTIONS. Returns false if the thread has gone.
bool set_options(pid_t tid, uint64_t options);
/// PTRACE_INTERRUPT. Returns false if the thread has gone.
bool interrupt(pid_t tid);
/// PTRACE_CONT. Returns false if the thread has gone.
bool resume(pid_t tid, int signal = 0);
/// PTRACE_DETACH. Returns false if the thread has gone, or doesn't stand in a stop.
bool detach(pid_t tid);
/// The thread stands in a ptrace stop. False: it has been killed, or runs.
[[nodiscard]] bool stands(pid_t tid);

/// What waitpid(2) said of a tracee.
struct Change {
  enum class Kind {
    Interrupted,  // PTRACE_EVENT_STOP after an interrupt
    GroupStop,    // PTRACE_EVENT_STOP in a group stop: `signal` is the one that stopped it
    Signal,       // signal-delivery-stop: `signal` has been dequeued and awaits delivery
    Other,        // another event or system call stop
    Gone,         // exited, killed, or no tracee of ours
  };
  Kind kind = Kind::Gone;
  int signal = 0;
};
/// Asks for a change of `tid` without waiting. Nothing: there was none.
[[nodiscard]] std::optional<Change> poll(pid_t tid);
/// A child or tracee is dead, whether it has been collected or not, or is none of ours. Takes nothing: a stop
/// stays to be told.
[[nodiscard]] bool has_ended(pid_t tid);
/// Waits for a change of `tid`.
[[nodiscard]] Change wait(pid_t tid);
[[nodiscard]] Change classify(int wait_status);

/// NT_PRSTATUS.
[[nodiscard]] user_regs_struct registers(pid_t tid);
void set_registers(pid_t tid, const user_regs_struct& registers);
/// NT_X86_XSTATE: an uncompacted xsave area.
[[nodiscard]] std::vector<std::byte> xsave(pid_t tid);
void set_xsave(pid_t tid, std::span<const std::byte> area);

/// Bit n-1 is signal n. In a system call such as sigsuspend(2) this is the mask from before it.
[[nodiscard]] uint64_t signal_mask(pid_t tid);
void set_signal_mask(pid_t tid, uint64_t mask);

/// siginfo_t as the kernel keeps it.
using SignalInfo = std::array<std::byte, 128>;
/// Pending signals in the order of their queue: of the whole process, or of this thread alone.
[[nodiscard]] std::vector<SignalInfo> pending_signals(pid_t tid, bool of_process);

struct RseqConfiguration {
  uint64_t address = 0;  // 0: none registered
  uint32_t size = 0;
  uint32_t signature = 0;
  uint32_t flags = 0;
};
[[nodiscard]] RseqConfiguration rseq_configuration(pid_t tid);

/// Syscall user dispatch (PR_SET_SYSCALL_USER_DISPATCH) is on: the thread's own code may get a SIGSYS instead
/// of a system call, and so may injected code. Linux 6.4; before, nothing tells, and the answer is no.
[[nodiscard]] bool dispatches_system_calls(pid_t tid);

/// Instructions of the seccomp filter that was loaded as number `index` (0 the first). Nothing: there are
/// no more. Needs CAP_SYS_ADMIN.
[[nodiscard]] std::optional<std::vector<sock_filter>> seccomp_filter(pid_t tid, uint32_t index);
/// Its SECCOMP_FILTER_FLAG_*, as far as the kernel tells (LOG).
[[nodiscard]] uint32_t seccomp_filter_flags(pid_t tid, uint32_t index);

}  // namespace godwit::ptrace
