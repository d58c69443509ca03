#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/e2e/harness.h"
#include "tests/e2e/round_trip.h"

namespace godwit::e2e {

/// Runs a shell script in the network namespace of a process. It stops at the first command that fails.
Outcome run_in_net(pid_t pid, const std::string& script);

/// What programs see of a network namespace: devices, addresses, routes, rules, neighbours, forwarding
/// entries, queueing disciplines, and every setting below /proc/sys/net. Sorted lines; what only counts down
/// (lifetimes, timers) is left out.
[[nodiscard]] std::vector<std::string> net_view(pid_t pid);

/// A program in a network namespace of its own, furnished by a script.
class NetWorkload {
 public:
  explicit NetWorkload(const std::string& script);

  [[nodiscard]] pid_t root() const { return workload_.root(); }
  /// Dumps and restores it, and reports to gtest what isn't as before.
  void round_trip(const std::vector<std::string>& dump_options = {},
                  const std::vector<std::string>& restore_options = {});
  void set_root(pid_t root) { workload_.set_root(root); }
  [[nodiscard]] std::string verdict() { return workload_.verdict(); }

 private:
  Reaper reaper_;
  Workload workload_;
};

}  // namespace godwit::e2e
