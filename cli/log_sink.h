#pragma once

#include <string_view>

namespace godwit::cli {

enum class LogFormat { Text, Json };

/// Log lines of all rooms go to stderr from now on: coloured on a terminal, plain otherwise, or one JSON
/// object a line. `verbosity` 0: warnings; 1: what is being done; 2: every step.
/// Synchronous, and without a thread: dump() and restore() want to be alone in their process.
void install_log_sink(LogFormat format, int verbosity);

/// The one line about what made the command fail, in the same format: `godwit: dump: …`.
void print_failure(std::string_view command, std::string_view message);

}  // namespace godwit::cli
