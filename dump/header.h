#pragma once

#include "images-format/checkpoint.pb.h"

namespace godwit {

/// What a checkpoint says of the machine on which it is made. Takes a little while: before the freeze.
/// Throws Error.
[[nodiscard]] image::Checkpoint describe_machine();

/// The clocks, read while the tree stands still.
void set_clocks(image::Checkpoint& header);

}  // namespace godwit
