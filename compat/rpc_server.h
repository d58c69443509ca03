#pragma once

#include "kernel/fd.h"

namespace godwit::compat {

/// Who has started this process: only the client itself can mean our descriptors by their numbers.
enum class StartedBy { Client, Service };

/// Serves the requests of one client. Returns the exit code: 0 if all were done.
int serve_client(Fd client, StartedBy started_by);

}  // namespace godwit::compat
