#pragma once

#include <functional>
#include <string>

namespace godwit::bench {

/// `runc checkpoint` and `runc restore` of a container, whole commands, beside the same with a criu that does
/// nothing, taking turns. `busy`: redis with 1 GB in it, else an idle shell. Rows of the table. Throws Error.
std::string measure_runc(bool busy, int rounds, const std::function<void(int round)>& on_round);

}  // namespace godwit::bench
