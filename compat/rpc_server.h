#pragma once

#include "kernel/fd.h"

namespace godwit::compat {

/// Serves the requests of one client. Returns the exit code: 0 if all were done.
int serve_client(Fd client);

}  // namespace godwit::compat
