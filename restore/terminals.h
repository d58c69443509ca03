#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/mount.pb.h"
#include "images-format/task.pb.h"
#include "kernel/fd.h"
#include "parasite/script_builder.h"

namespace godwit {

/// Terminals in devpts instances of the tree's own, whose masters go to somebody outside. The instances are
/// made by the first process, which shares this process's descriptors but not its memory: so the numbers at
/// which the masters will be are chosen beforehand.
class Terminals {
 public:
  /// Throws Error.
  explicit Terminals(const CheckpointImage& image);

  [[nodiscard]] bool empty() const { return terminals_.empty(); }
  /// Whether a task needs somebody to hold the master.
  [[nodiscard]] bool any_used() const;

  /// By the first process: makes those of an instance, at the numbers that they had. `mount`: of all of it,
  /// and without terminals so far. Throws Error.
  void make(int mount, const image::Superblock& instance) const;

  /// Hands over each master. It is closed with this object. Throws what `take` throws.
  void hand_over(const std::function<void(int master)>& take) const;

 private:
  struct Terminal {
    const image::Superblock* instance;
    const image::Terminal* record;
    Fd master;
  };
  std::vector<Terminal> terminals_;
};

/// Emits what a new session's leader does: a terminal of the tree's own comes to control the session.
void emit_control_by_terminal(ScriptBuilder& script, const image::ControllingTerminal& terminal);
/// Emits what it does later: a process group of the session, by its number as the leader sees it, comes to
/// the foreground. The signal that a background process gets for that must be blocked.
void emit_foreground_group(ScriptBuilder& script, const image::ControllingTerminal& terminal, pid_t group);

}  // namespace godwit
