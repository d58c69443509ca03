#pragma once

#include <string_view>

namespace godwit::compat {

/// Whether this process is in the cgroup that is named as `[CONTROLLER:]PATH`. Without a controller it must
/// have that path in every hierarchy; an empty one is that of version 2. Throws Error. See cgroups(7),
/// /proc/PID/cgroup.
[[nodiscard]] bool is_our_cgroup(std::string_view name);

}  // namespace godwit::compat
