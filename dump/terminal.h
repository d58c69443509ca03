#pragma once

#include <deque>

#include "dump/namespace.h"
#include "dump/task_state.h"

namespace godwit {

/// What dump/dump.h says of terminals.
struct DumpOptions;

/// The terminals that control the sessions of a tree, from what its tasks' stat says. Notes each in its
/// session leader's record, and refuses those that can't be made again. A shell job's is whoever restores'
/// affair. Throws Error.
void collect_controlling_terminals(std::deque<TaskState>& tasks, NamespaceTable& namespaces,
                                   const DumpOptions& options);

}  // namespace godwit
