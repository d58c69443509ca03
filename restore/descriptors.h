#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "images-format/checkpoint_reader.h"
#include "images-format/task.pb.h"
#include "parasite/script_builder.h"
#include "restore/file.h"

namespace godwit {

/// Who makes which open file description, and how it reaches its descriptors. Pure: touches no kernel.
/// The kinds are in restore/descriptor_kind.h's registry.
class DescriptorPlan {
 public:
  explicit DescriptorPlan(const CheckpointImage& image);
  ~DescriptorPlan();

  /// Runs the makers of what several descriptor tables share, in this process, at numbers from
  /// `first_descriptor` up (above every number that the image uses), for tasks to inherit.
  /// `shared_memory`: descriptor of this process for a SharedMemory id.
  /// Throws Error. The descriptors are closed by the destructor.
  void make_shared(const FileOpener& files, const std::map<uint32_t, int>& shared_memory, int first_descriptor);

  /// Emits the filling of a task's table. At that point the task has only what it inherited from the
  /// coordinator, all at or above the first descriptor number given above; closing that is the caller's
  /// affair, after `finish` has been emitted too.
  void emit_place(ScriptBuilder& script, const image::Task& task, const FileOpener& files,
                  const std::map<uint32_t, int>& shared_memory);
  /// Emits what needs all descriptors in place: epoll watches, locks.
  void emit_finish(ScriptBuilder& script, const image::Task& task);

  /// One above the highest descriptor number in the image.
  [[nodiscard]] int first_free_descriptor() const;
  /// A line for each open file description: what, by whom, for which descriptors.
  [[nodiscard]] std::string describe() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace godwit
