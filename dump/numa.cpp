#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit {

NumaPolicies::NumaPolicies() {
  constexpr unsigned kMemoriesAllowed = 1 << 2;  // MPOL_F_MEMS_ALLOWED
  constexpr unsigned kMostNodes = 1024;
  std::array<uint64_t, kMostNodes / 64> nodes{};
  if (::syscall(SYS_get_mempolicy, nullptr, nodes.data(), kMostNodes, 0, kMemoriesAllowed) == 0) {
    int count = 0;
    for (const uint64_t word : nodes) {
      count += std::popcount(word);
    }
    several_nodes_ = count > 1;
  }
}

void NumaPolicies::warn(pid_t pid) const {
  if (!several_nodes_) {
    return;
  }
  const std::string policy = first_numa_policy(read_file(fmt::format("/proc/{}/numa_maps", pid)));
  if (!policy.empty()) {
    log::warning("task {}: its NUMA policy isn't kept (mapping {})", pid, policy);
  }
}

std::string first_numa_policy(std::string_view numa_maps) {
  while (!numa_maps.empty()) {
    const std::string_view line = numa_maps.substr(0, numa_maps.find('\n'));
    numa_maps.remove_prefix(std::min(line.size() + 1, numa_maps.size()));
    const size_t space = std::min(line.find(' '), line.size());
    const std::string_view policy = line.substr(space, line.find(' ', space + 1) - space);
    if (policy != " default" && !policy.empty()) {
      return std::string(line.substr(0, space)) + std::string(policy);
    }
  }
  return {};
}

}  // namespace godwit
