#include "cli/network_lock.h"

#include <fmt/core.h>

namespace godwit::cli {

void add_network_lock(CommandLine& line, std::string& method) {
  line.option("--network-lock", "METHOD", method,
              "How packets of TCP connections are dropped while the tree is away: nftables (the default; "
              "iptables is another name for it), or skip: not at all");
}

NetworkLock read_network_lock(const std::string& method) {
  if (method == "nftables" || method == "iptables") {
    return NetworkLock::Nftables;
  }
  if (method == "skip") {
    return NetworkLock::Skip;
  }
  throw UsageError(fmt::format("--network-lock takes nftables, iptables or skip, not '{}'", method));
}

}  // namespace godwit::cli
