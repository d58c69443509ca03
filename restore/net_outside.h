#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace godwit {

/// The ends outside of veth pairs whose other end is in the tree's network namespace: devices of ours. They
/// go, with the pairs, unless they are released.
class OuterEnds {
 public:
  OuterEnds() = default;
  OuterEnds(const OuterEnds&) = delete;
  OuterEnds& operator=(const OuterEnds&) = delete;
  ~OuterEnds();

  /// Whether all that is needed was handed over, and the bridges are there. Throws Error that names what
  /// isn't.
  static void check(const Plan& plan, const std::map<std::string, std::string>& given);
  /// Makes the pairs, waiting a moment for names of pairs that are about to go, as those of a tree that has
  /// just ended are. `pid`: a process in the tree's network namespace, which is still empty; `given`: what
  /// was handed over by name: "veth[eth0]" is OUT or OUT@BRIDGE. Throws Error that names one that wasn't.
  void make(const Plan& plan, const std::map<std::string, std::string>& given, pid_t pid);
  /// From here on packets come. The tree is ready for them. Throws Error.
  void bring_up();
  /// They belong to the tree now.
  void release() { made_.clear(); }

 private:
  std::vector<uint32_t> made_;  // indices: names can be changed
};

}  // namespace godwit
