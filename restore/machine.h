#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "images-format/cgroup.pb.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_reader.h"

namespace godwit {

/// Whether tasks of that machine can run on this one. Throws Error that names what differs.
void check_machine(const image::Checkpoint& header);

/// Warns of each cgroup of the checkpoint's tasks that task `root`, the restored one, isn't in: all are born
/// where it is.
void warn_about_cgroups(const CheckpointImage& image, pid_t root);
/// Of the places those that `here`, the text of a /proc/PID/cgroup, lacks, as "CONTROLLERS:PATH".
[[nodiscard]] std::vector<std::string> cgroups_missing(const image::CgroupSet& wanted, std::string_view here);

}  // namespace godwit
