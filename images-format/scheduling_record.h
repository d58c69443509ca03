#pragma once

#include "images-format/scheduling.pb.h"
#include "kernel/scheduling.h"

namespace godwit {

/// All but the timer slack, which a thread alone can tell.
void describe_scheduling(const SchedulingState& state, image::Scheduling& record);

}  // namespace godwit
