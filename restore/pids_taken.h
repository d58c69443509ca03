#pragma once

#include <sys/types.h>

#include "plan/plan.h"

namespace godwit {

/// Whether nobody has this number: no process, thread, group or session.
[[nodiscard]] bool is_free(pid_t pid);

/// Throws Error that names who has a pid or tid that the plan needs. A process that has been killed,
/// such as one that a dump has ended a moment ago, is given time to end, and two seconds to be reaped by its
/// parent. Says nothing of a
/// tree with a pid namespace of its own: those that matter there don't exist yet.
void check_pids_are_free(const Plan& plan);

}  // namespace godwit
