#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "dump/task_state.h"
#include "images-format/checkpoint_writer.h"
#include "parasite/script_builder.h"

/// The collectors of a task's and a thread's own state, one source file a resource. Those named collect_
/// look from outside at a task that stands still; those named ask_ put questions into a script that the
/// task runs, and add to `answers` what reads the replies into the record afterwards. All throw Error;
/// the caller adds which task or thread it was about.
namespace godwit {

/// What reads replies from a script that has been run.
using Answers = std::vector<std::function<void(const ScriptBuilder&)>>;

// registers.cpp
/// Refuses 32-bit code.
void collect_registers(pid_t tid, image::Registers& record);

// rseq.cpp
/// Must come after collect_registers and before any injected code runs in the thread: a thread inside a
/// critical section gets the abort address in its record.
void collect_rseq(pid_t pid, ThreadState& thread);
/// Clears what an interrupted critical section left in memory, for the copy of it.
void clear_critical_section(pid_t pid, const ThreadState& thread);
/// Gives back what threads have lost, so that the kernel aborts their sections when they go on.
void give_back_critical_sections(std::deque<TaskState>& tasks) noexcept;
/// However a dump ends: before the freezer lets a thread go that was interrupted in a critical section.
class CriticalSectionsGivenBack {
 public:
  explicit CriticalSectionsGivenBack(std::deque<TaskState>& tasks) : tasks_(tasks) {}
  CriticalSectionsGivenBack(const CriticalSectionsGivenBack&) = delete;
  CriticalSectionsGivenBack& operator=(const CriticalSectionsGivenBack&) = delete;
  ~CriticalSectionsGivenBack() { give_back_critical_sections(tasks_); }

 private:
  std::deque<TaskState>& tasks_;
};

// robust_list.cpp
void collect_robust_list(pid_t tid, image::Thread& record);

// signal.cpp
void collect_thread_signals(pid_t tid, image::Thread& record);
void collect_process_signals(pid_t pid, image::Task& record);
void ask_signal_actions(ScriptBuilder& script, Answers& answers, image::Task& record);
void ask_alternate_stack(ScriptBuilder& script, Answers& answers, image::Thread& record);
/// Whether the stops of these children have been reported: to be asked of their parent.
void ask_stop_reported(ScriptBuilder& script, Answers& answers, const image::Task& parent,
                       image::Task& child);

// timer.cpp
void ask_interval_timers(ScriptBuilder& script, Answers& answers, image::Task& record);
void ask_posix_timers(const std::vector<procfs::Timer>& timers, ScriptBuilder& script, Answers& answers,
                      image::Task& record);
/// A timer that ran out after it was asked for, and whose signal is pending: it is that signal now. Must
/// come after collect_process_signals and collect_thread_signals.
void settle_expired_timers(image::Task& record);

// credentials.cpp
void collect_credentials(const procfs::Status& status, image::Credentials& record);
void ask_securebits(ScriptBuilder& script, Answers& answers, image::Thread& record);

// seccomp.cpp
/// The filters of all threads, each once.
class SeccompFilters {
 public:
  void collect(const ThreadState& thread, image::Thread& record);
  void write(CheckpointWriter& writer) const;

 private:
  std::map<std::pair<std::string, uint32_t>, uint32_t> ids_;  // by instructions and flags
};

// scheduling.cpp
void collect_scheduling(pid_t tid, image::Scheduling& record);
void ask_timer_slack(ScriptBuilder& script, Answers& answers, image::Thread& record);

// filesystem.cpp
/// Refuses directories that have been removed or can't be reached.
void collect_filesystem(pid_t pid, const procfs::Status& status, image::Filesystem& record);

// rlimit.cpp
void ask_resource_limits(ScriptBuilder& script, Answers& answers, image::Task& record);

// process.cpp: what /proc and prctl(2) keep of a task, or of a thread, besides.
void collect_process(pid_t pid, image::Task& record);
void ask_child_subreaper(ScriptBuilder& script, Answers& answers, image::Task& record);
void ask_tid_address(ScriptBuilder& script, Answers& answers, image::Thread& record);
void ask_parent_death_signal(ScriptBuilder& script, Answers& answers, image::Thread& record);
void ask_personality(ScriptBuilder& script, Answers& answers, image::Thread& record);

// numa.cpp
/// NUMA policies aren't kept. Where there is more than one node, warns of those that a task has.
class NumaPolicies {
 public:
  NumaPolicies();
  void warn(pid_t pid) const;

 private:
  bool several_nodes_ = false;
};
/// The first mapping with another policy than the default in /proc/PID/numa_maps: "START POLICY"; empty:
/// none.
[[nodiscard]] std::string first_numa_policy(std::string_view numa_maps);

// mm.cpp
void collect_mm(pid_t pid, const procfs::Stat& stat, image::Mm& record);
void ask_mm(ScriptBuilder& script, Answers& answers, image::Mm& record);

}  // namespace godwit
