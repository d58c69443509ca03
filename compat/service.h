#pragma once

#include "compat/settings.h"

namespace godwit::compat {

/// `criu service`: listens on a SOCK_SEQPACKET socket and serves each client in a child of its own, until
/// SIGTERM or SIGINT. Returns the exit code. Throws Error.
int run_service(const Settings& settings);

}  // namespace godwit::compat
