#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernel/procfs.h"
#include "parasite/own_code.h"
#include "parasite/script_builder.h"

namespace godwit {

/// The engine inside one address space for as long as this object lives. Every thread that it is to run
/// in must be seized (PTRACE_SEIZE) by the calling thread, with PTRACE_O_SUSPEND_SECCOMP and
/// PTRACE_O_TRACESYSGOOD where they can be had, and stand in a stop. The destructor takes the engine out
/// again: registers, signal masks, memory and mappings are what they were, and the threads stand in their
/// stops still.
class Parasite {
 public:
  /// Maps `bytes` of memory for the engine and scripts at `address` (page-aligned, nothing mapped there;
  /// see `free_range`) by system calls injected into the leader. `maps`: the process's. Throws Error.
  ///
  /// Should the calling process be killed, the threads leave the engine by themselves; the leader, which does
  /// so last, unmaps it, if there is a WayHome for it.
  Parasite(std::span<const pid_t> threads, const std::vector<procfs::Map>& maps, OwnCodeFinder& finder,
           uint64_t address, size_t bytes);
  Parasite(const Parasite&) = delete;
  Parasite& operator=(const Parasite&) = delete;
  ~Parasite();

  /// Where the next script goes: its ScriptBuilder's base.
  [[nodiscard]] uint64_t next_script_address() const;
  /// Lets `tid` run the script. Don't end it with `finish`: that is added here. Several threads may run
  /// at once; the leader should be started first and collected last. `script` must outlive the matching
  /// `collect`.
  void start(pid_t tid, ScriptBuilder& script);
  /// The signal by which a script may pause (ScriptBuilder::pause).
  [[nodiscard]] int signal() const;
  /// Waits until the script that `tid` runs pauses. False: it has failed before that, as `collect` says.
  /// Throws Error if the task died.
  [[nodiscard]] bool wait_for_pause(pid_t tid);
  /// Lets it go on after a pause. Throws Error.
  void go_on(pid_t tid);
  /// Waits until `tid` has run its script, puts the thread back as it was, loads the results into the
  /// builder. Throws Error if an operation failed, or the task died.
  void collect(pid_t tid);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A page-aligned hole of at least `bytes` outside all `used` [start, end) ranges (ascending), below the
/// end of user space and away from the stack's growth. Throws Error if there is none.
[[nodiscard]] uint64_t free_range(const std::vector<std::pair<uint64_t, uint64_t>>& used, size_t bytes);

}  // namespace godwit
