#pragma once

#include <string>
#include <vector>

namespace godwit::compat {

/// Executes a command in the place of this program, with signals as a program expects them. Throws Error if
/// it can't be executed.
[[noreturn]] void become(std::vector<std::string> command);

}  // namespace godwit::compat
