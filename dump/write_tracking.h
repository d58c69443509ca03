#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "dump/keeper_client.h"
#include "dump/private_pages.h"
#include "dump/task_state.h"
#include "images-format/checkpoint_reader.h"
#include "parasite/own_code.h"

namespace godwit {

/// What has been written since an earlier checkpoint of the same tree, and what is written from this one on.
/// Only private anonymous memory is tracked. What several tasks, or descriptors, can write to counts as
/// written; so do a task's own pages of mapped files, since where such a page is dropped the kernel leaves a
/// mark that looks like a page which hasn't been written.
///
/// A page counts as unwritten only if the kernel says that it has stood under write protection since the
/// checkpoint was made, and the keeper says which checkpoint that was. Whatever else becomes of a task (new
/// mappings, moved ones, execve(2), a keeper that was killed) has no such page, and is saved whole. While
/// pages are protected anew, the keeper knows of no checkpoint; it learns of the new one when that is
/// complete. So a dump that fails then, or is killed, costs a whole dump, never a write.
class WriteTracking {
 public:
  /// Before the freeze, while there are no other threads and little memory: it may start the keeper. `track`:
  /// writes are tracked from this checkpoint on. Throws Error if they can't be.
  WriteTracking(pid_t root, bool track);
  /// The checkpoint that the new one builds on, which must outlive the tracking.
  void build_on(const CheckpointImage& parent);

  // All of the following while the tree is frozen; they may throw Error.

  /// Takes the marks that our own tracking leaves from `task.maps`.
  void recognize(TaskState& task);
  /// The pages of `task.mm` that are as in the parent.
  [[nodiscard]] UnchangedPages unchanged(const TaskState& task);
  /// After `unchanged` has been asked of all tasks. Protects the pages of each of them; nothing, unless
  /// writes are to be tracked. A task of which that can't be done is named in a warning, and isn't tracked.
  void protect(const std::vector<TaskState*>& tasks);

  /// The checkpoint is complete and stays. A failure is a warning: the next dump will be whole.
  void settle(const CheckpointName& checkpoint) noexcept;

 private:
  [[nodiscard]] static keeper::TaskIdentity identity(const TaskState& task);
  [[nodiscard]] const keeper::Client::Space* space(const TaskState& task) const;
  [[nodiscard]] const image::MemoryObject* object_in_parent(uint64_t id) const;
  void protect(const TaskState& task);
  [[nodiscard]] bool was_registered(const TaskState& task, const PageRange& area) const;

  keeper::TaskIdentity root_;
  bool track_;
  const CheckpointImage* parent_ = nullptr;
  std::unique_ptr<keeper::Client> keeper_;
  OwnCodeFinder finder_;
  bool warned_ = false;
  std::map<pid_t, std::vector<PageRange>> registered_;  // found so, before anything was done
  std::map<keeper::TaskIdentity, uint64_t> protected_;  // with the id of its memory object
};

}  // namespace godwit
