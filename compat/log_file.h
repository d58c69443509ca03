#pragma once

#include <string>

namespace godwit::compat {

/// Log lines of all rooms go to the file from now on, as clients look for them: `(00.001234) Error
/// (godwit): text`. An older log is replaced. Empty path: stderr. `level`: 1 errors, 2 warnings, 3 what is
/// done, 4 every step; 0: not said, which is 2. Throws Error.
void open_log(const std::string& path, int level);

/// What made the request fail.
void log_failure(const std::string& message);

}  // namespace godwit::compat
