#pragma once

#include "cli/container.h"
#include "dump/dump.h"

/// Containers that Podman or Docker looks after, which dump them and restore them by our `criu`.
namespace godwit::cli {

/// Throws UsageError for options of a dump that their clients can't be told.
void check_managed_dump(const ContainerFlags& flags, const DumpOptions& options);

/// The same of --tcp-established, of a dump or a restore.
void check_managed_connections(const ContainerFlags& flags, bool tcp_established);

/// Prints what was found, dumps, and prints what was dumped. `json`: all of that at the end, as JSON.
/// Throws Error.
void dump_managed(const ContainerFlags& flags, const DumpOptions& options, bool json);

}  // namespace godwit::cli
