#pragma once

#include <sys/types.h>

#include "compat/options.h"
#include "compat/rpc.pb.h"

namespace godwit::compat {

/// What the fields of a request ask for, by the table of options. Descriptors are `client`'s.
void read_options(const rpc::Options& options, pid_t client, Asked& asked);

}  // namespace godwit::compat
