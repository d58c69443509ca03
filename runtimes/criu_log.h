#pragma once

#include <string>

namespace godwit::runtimes {

/// What went wrong, as our `criu` says in its log; empty: nothing, or there is no such log. Never throws for
/// what the log is: its path may come from somebody else's words.
[[nodiscard]] std::string failure_in_log(const std::string& path);

}  // namespace godwit::runtimes
