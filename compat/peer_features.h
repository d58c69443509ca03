#pragma once

#include <string>
#include <vector>

namespace godwit::compat {

/// Throws Error with the names of what godwit needs and this machine lacks.
void check_machine_features();

/// `criu check --feature NAME`. True if all are there; one that isn't is logged.
bool has_peer_features(const std::vector<std::string>& names);

}  // namespace godwit::compat
