#pragma once

#include "images-format/task.pb.h"
#include "restore/region.h"

namespace godwit {

/// Ties a task's threads to this process's life (PTRACE_O_EXITKILL) and suspends seccomp in them. Throws
/// Error.
void seize_task(const image::Task& task);

/// What remains to be done when all threads of the tasks are parked in the region. The steps are made for all
/// tasks at once, so that their waiting overlaps: stop the threads, unmap the region, set the registers.
/// Afterwards every thread stands in a stop, ready to go on where its image was taken. Throws Error.
void bring_home(const std::vector<const image::Task*>& tasks, const Region& region);

/// Puts a task that has been brought home into a group stop: its threads are stopped by `signal`, not only by
/// us. Another than SIGSTOP must have its default action, and the process group must not be orphaned.
void stop_task(const image::Task& task, int signal);

/// Sets the signal masks: the last thing by which the threads differ from what they were. Throws Error.
void set_signal_masks(const image::Task& task);

/// Lets the tasks run on, or stand in their group stops. First, one system call a task, they are untied from
/// this process's life; once that is done for all, they run on even if it is killed. No error is possible any
/// more but a task's death.
void let_go(const std::vector<const image::Task*>& tasks);

}  // namespace godwit
