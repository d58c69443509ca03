#pragma once

#include <optional>

#include "images-format/checkpoint.pb.h"
#include "images-format/namespace.pb.h"
#include "plan/plan.h"

namespace godwit {

/// Whether a checkpoint was made under this boot of this machine, so that monotonic clocks have only gone on
/// since.
[[nodiscard]] bool is_same_boot(const image::Checkpoint& header);

/// A time namespace for a tree that had none of its own and comes from another boot, in which its clocks go
/// on from where they were. None: it needs none, or this kernel has no such thing, which is warned of.
[[nodiscard]] std::optional<image::Namespace> clocks_of_another_boot(const image::Checkpoint& header,
                                                                     const Plan& plan);

/// By the first process: enters a new one, whose clocks go on from what the record says. Throws Error.
void enter_new_time_namespace(const image::TimeNamespace& record);

}  // namespace godwit
