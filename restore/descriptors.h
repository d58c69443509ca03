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
#include "restore/tree_root.h"

namespace godwit {

/// The hard limit of this process. Throws Error.
[[nodiscard]] uint64_t descriptor_limit();

/// Who makes which open file description, and how it reaches its descriptors. Pure: touches no kernel.
/// The kinds are in restore/descriptor_kind.h's registry.
class DescriptorPlan {
 public:
  /// `limit`: as many descriptors a process here can have.
  explicit DescriptorPlan(const CheckpointImage& image, uint64_t limit = UINT64_MAX);
  ~DescriptorPlan();

  /// The tree's monotonic clocks have begun anew.
  void forget_clocks();

  /// Opens what the image's records were told to be external, for tasks to inherit, at numbers from
  /// `first_descriptor` up. `paths`: by name; "/proc/self/fd/N" is this process's own descriptor. Returns the
  /// next free number. Throws Error that names what is missing. They are closed by the destructor.
  int open_external(const std::map<std::string, std::string>& paths, int first_descriptor);

  /// Runs the makers of what several descriptor tables share, in this process, for tasks to inherit: at its
  /// own number if that is the same in all of them, otherwise at numbers from `first_descriptor` up, which
  /// the image doesn't use.
  /// `shared_memory`: descriptor of this process for a SharedMemory id.
  /// All numbers from there on must be free and stay so: the tasks use the next ones while they make theirs
  /// (see next_descriptor). Raises this process's soft limit of descriptors if that is needed, which tasks
  /// inherit. Throws Error. The descriptors are closed by the destructor.
  /// `own_descriptors`: /proc/self/fd (O_PATH) where this process has another mount namespace now; -1: it
  /// hasn't.
  void make_shared(const FileOpener& files, const std::map<uint32_t, int>& shared_memory,
                   int first_descriptor, int own_descriptors = -1);

  /// Emits the filling of a task's table, in which is only what it inherited from the coordinator. What lies
  /// above the image's numbers is for the caller to close, before `finish`.
  void emit_place(ScriptBuilder& script, const image::Task& task, const FileOpener& files,
                  const std::map<uint32_t, int>& shared_memory);
  /// Emits what needs all descriptors in place: epoll watches, locks. Afterwards nothing may be closed in
  /// the task: closing any descriptor of a file gives up the task's POSIX locks on it.
  void emit_finish(ScriptBuilder& script, const image::Task& task);

  /// Emits which signals descriptors send.
  void emit_signals(ScriptBuilder& script, const image::Task& task);
  /// By the coordinator, when all descriptors of all tasks are in place: puts into sockets what waits there,
  /// and lets go of what nobody else has. `pid_now`: as conclude's, but 0 for who isn't of the tree. Throws
  /// Error.
  void fill(const std::function<pid_t(pid_t)>& pid_now);
  /// What the coordinator does, through copies of the tasks' descriptors, when all tasks, threads and process
  /// groups exist: who is signalled, which group is in the foreground. `pid_now`: the pid of whoever had one
  /// in the image. Throws Error.
  void conclude(const FileOpener& files, const std::function<pid_t(pid_t)>& pid_now);
  /// After `conclude`: what others outside the tree notice. The tree runs in any case; what fails is a
  /// warning.
  void enliven() const;

  /// The names of sockets are those of a tree with mounts of its own.
  void start_names_from(TreeRoot root);
  /// Socket files that have been made are unlinked by the destructor, unless they are to be kept. Those made
  /// by tasks only if note has been taken of them, while their scripts lie in this process's memory.
  void note_bound_names();
  void keep_bound_names();

  /// From here up to the last nobody in the image has a descriptor: above all numbers of the image if the
  /// limit allows it, and above those that the coordinator uses itself.
  [[nodiscard]] int first_free_descriptor() const;
  /// Has the kernel make this process's table large enough for what tasks inherit, about. While another
  /// process shares the table, that waits until all CPUs have been seen idle or in user mode
  /// (expand_fdtable() in fs/file.c), which takes some 20 ms.
  void reserve_table() const;
  [[nodiscard]] int last_free_descriptor() const;
  /// After make_shared: one above the highest number that making and placing uses.
  [[nodiscard]] int next_descriptor() const;
  /// A line for each open file description: what, by whom, for which descriptors.
  [[nodiscard]] std::string describe() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace godwit
