#pragma once

#include <string>

namespace godwit::compat {

/// Writes the zero byte that says "ready" and closes it. `where`: number of a descriptor of ours, or a path;
/// empty: nobody asked. Throws Error.
void tell_ready(const std::string& where);

}  // namespace godwit::compat
