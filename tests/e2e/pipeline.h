#pragma once

#include "tests/e2e/harness.h"

namespace godwit::e2e {

/// Runs a line of bash to its end, which fails if anything in it fails; "GODWIT" is the program. What of the
/// tree of `root` ends meanwhile is reaped, once: the line may make the same pids anew. `copies`: TMPDIR.
Outcome run_pipeline(pid_t root, std::string line, const std::string& copies);

}  // namespace godwit::e2e
