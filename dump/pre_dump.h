#pragma once

#include "dump/dump.h"

namespace godwit {

/// Saves the private memory of the tree of `options.pid` and nothing else, and has the kernel track what is
/// written from then on: a later dump, with this as its parent, saves only that. The tree stands still only
/// while its pages are protected; it runs while they are copied, and runs on. What is written while it is
/// copied counts as written afterwards.
///
/// Of `options` the root, the directory, the parent, the writer's and the number of workers are heeded; of
/// `callbacks` progress. On any Error the tree runs on and nothing new bears the final name. The same callers
/// as for `dump`.
DumpReport pre_dump(const DumpOptions& options, const DumpCallbacks& callbacks = {});

}  // namespace godwit
