#pragma once

#include <string>

#include "cli/command_line.h"
#include "kernel/tcp_lock.h"

namespace godwit::cli {

/// The option --network-lock of dump and restore.
void add_network_lock(CommandLine& line, std::string& method);
/// Throws UsageError.
[[nodiscard]] NetworkLock read_network_lock(const std::string& method);

}  // namespace godwit::cli
