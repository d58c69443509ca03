#pragma once

#include "dump/task_state.h"
#include "kernel/fd.h"
#include "parasite/own_code.h"

namespace godwit {

/// Makes a userfaultfd inside a frozen task, whose memory it is for, and takes it out: when this returns only
/// the caller has it. Should godwit be killed meanwhile, the task closes it itself. Whatever the leader has
/// in its middle (a critical section of rseq(2)) is the caller's to keep. Throws Error.
[[nodiscard]] Fd make_userfaultfd(const TaskState& task, OwnCodeFinder& finder);

}  // namespace godwit
