#pragma once

#include <string>

#include "kernel/fd.h"

namespace godwit {

/// Where the files of a checkpoint are made, and how they become one. What isn't published is removed by the
/// destructor.
class CheckpointDirectory {
 public:
  CheckpointDirectory() = default;
  CheckpointDirectory(const CheckpointDirectory&) = delete;
  CheckpointDirectory& operator=(const CheckpointDirectory&) = delete;
  virtual ~CheckpointDirectory() = default;

  /// A new file in it, for its owner alone. Throws Error.
  [[nodiscard]] virtual Fd create_file(const std::string& name) = 0;
  /// Path for errors.
  [[nodiscard]] virtual std::string path() const = 0;
  /// From here on readers find a checkpoint there. `sync`: it is on disk when this returns. Throws Error;
  /// then they don't.
  virtual void publish(bool sync) = 0;
  /// Takes back what was published.
  virtual void retract() noexcept = 0;
};

}  // namespace godwit
