#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/credentials.pb.h"
#include "images-format/scheduling.pb.h"
#include "images-format/seccomp.pb.h"
#include "images-format/task.pb.h"
#include "kernel/procfs.h"
#include "parasite/script_builder.h"

/// The smaller resources of tasks and threads: each in the file that bears its name. `emit_…` writes the
/// system calls that the thread itself must make, `apply_…` does from outside what can be done there.
namespace godwit {

/// What every task inherits from the coordinator: what is like that already isn't set again.
struct Baseline {
  procfs::Status status;  // credentials, capabilities, ignored signals
  std::array<rlimit, RLIM_NLIMITS> limits{};
  image::Scheduling scheduling;
  int64_t oom_score_adj = 0;
  uint32_t securebits = 0;

  /// Of this process. Throws Error.
  [[nodiscard]] static Baseline of_this_process();
};

/// Signal actions; `task` has all its threads by now.
void emit_signal_actions(ScriptBuilder& script, const image::Task& task, const Baseline& baseline);
/// Queues pending signals: of the thread, and with the leader those of the process.
void emit_pending_signals(ScriptBuilder& script, const image::Task& task, const image::Thread& thread,
                          bool leader);

/// setitimer(2) and timer_create(2) timers of the process.
void emit_timers(ScriptBuilder& script, const image::Task& task);

/// What can't be set for want of privileges is warned about by name.
void emit_resource_limits(ScriptBuilder& script, const image::Task& task, const Baseline& baseline);

/// Root, working directory, umask.
void emit_filesystem(ScriptBuilder& script, const image::Task& task);

/// Everything of credentials(7) that belongs to a thread, no_new_privs included.
void emit_credentials(ScriptBuilder& script, const image::Credentials& credentials, const Baseline& baseline);

/// SeccompFilter records by id.
using SeccompFilters = std::map<uint32_t, const image::SeccompFilter*>;
/// The thread must be seized with PTRACE_O_SUSPEND_SECCOMP, or the rest of its script would be filtered.
void emit_seccomp(ScriptBuilder& script, const image::Seccomp& seccomp, const SeccompFilters& filters);

/// Policy, nice value, affinity, I/O priority of thread `tid`. Throws Error.
void apply_scheduling(pid_t tid, const image::Scheduling& scheduling, const Baseline& baseline);
/// The scheduling of a thread as the kernel has it now. Throws Error.
[[nodiscard]] image::Scheduling read_scheduling(pid_t tid);

/// /proc/PID/oom_score_adj and coredump_filter. What can't be set for want of privileges is warned about.
void apply_oom_and_core(const image::Task& task, const Baseline& baseline);

}  // namespace godwit
