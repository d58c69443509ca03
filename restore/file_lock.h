#pragma once

#include "images-format/file_lock.pb.h"
#include "parasite/script_builder.h"

namespace godwit {

/// Emits the taking of a lock through descriptor `fd`. It must be free.
void emit_lock(ScriptBuilder& script, const image::FileLock& lock, int fd);

}  // namespace godwit
