#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "dump/mount_order.h"
#include "kernel/fd.h"
#include "kernel/mount.h"

namespace godwit {

/// By a thread in the namespace of `order`: what the mount point of a mount leads to (O_PATH), if it leads
/// to that mount and not to what covers it.
[[nodiscard]] Fd open_visible(const MountInfo& mount);

/// A detached copy of each of the mounts of namespace `space` whose ids are `wanted`, with nothing mounted on
/// it, in which looking leaves no trace. Those that others cover, and those that can't be bound, are found in
/// a copy of the namespace, from which the covers are unmounted. Throws Error.
[[nodiscard]] std::map<uint32_t, Fd> detached_copies(int space, const MountOrder& order,
                                                     const std::set<uint32_t>& wanted);

}  // namespace godwit
