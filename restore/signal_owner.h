#pragma once

#include "images-format/descriptor.pb.h"
#include "parasite/script_builder.h"

namespace godwit {

/// Emits who is to be signalled about the description behind `descriptor`. The task still has root's
/// credentials, and whom it names must exist.
void emit_signal_owner(ScriptBuilder& script, const image::OpenFile& file, int descriptor);

}  // namespace godwit
