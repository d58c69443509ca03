#pragma once

#include <map>
#include <string>

#include "compat/settings.h"
#include "dump/dump.h"
#include "restore/restore.h"

namespace godwit::compat {

/// What the tree is tied to outside, as a dump takes it: options external, ext_mnt, skip_mnt, enable_fs.
/// Throws Error for a kind of resource that can't be external.
void set_outside(const Settings& settings, DumpOptions& options);

/// Likewise as a restore takes it: paths by name. Here the client says by which descriptor or path it hands
/// over what it had named when it dumped. Throws Error.
[[nodiscard]] std::map<std::string, std::string> outside_paths(const Settings& settings);

/// The cgroups in which a tree starts: option cgroup-root.
[[nodiscard]] std::vector<CgroupRoot> cgroup_roots(const Settings& settings);

}  // namespace godwit::compat
