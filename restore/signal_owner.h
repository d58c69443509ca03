#pragma once

#include <functional>

#include "images-format/descriptor.pb.h"
#include "parasite/script_builder.h"

namespace godwit {

/// Emits what is sent, and that it is sent: F_SETSIG, O_ASYNC. The kernel remembers the number through which
/// O_ASYNC was asked for, so this is the task's own affair.
void emit_signal(ScriptBuilder& script, const image::OpenFile& file, int descriptor);

/// Sets who is signalled (F_SETOWN_EX), through a descriptor of this process: the owner may be any task,
/// thread or group of the tree, and exists by now. `pid_now`: the pid of whoever had one in the image. Throws
/// Error.
void apply_signal_owner(const image::SignalOwner& owner, int descriptor,
                        const std::function<pid_t(pid_t)>& pid_now);

}  // namespace godwit
