#pragma once

#include "images-format/checkpoint.pb.h"

namespace godwit {

/// Whether tasks of that machine can run on this one. Throws Error that names what differs; warns where
/// clocks will jump.
void check_machine(const image::Checkpoint& header);

}  // namespace godwit
