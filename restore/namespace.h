#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernel/namespace.h"
#include "plan/plan.h"
#include "restore/first_process.h"

namespace godwit {

/// Which namespaces the root is cloned into: CLONE_NEW… flags. 0: all are ours.
[[nodiscard]] uint64_t namespaces_to_clone(const Plan& plan);

/// By the first process, inside: host name, loopback device. Throws Error.
void furnish_namespaces(const Plan& plan);

/// While it lives, this process is where files and sockets of the tree are made: in the mount, network and
/// ipc namespaces of the first process, as far as those aren't ours anyway.
class InsideTheTree {
 public:
  /// Throws Error.
  InsideTheTree(const Plan& plan, const FirstProcess& first);

 private:
  std::vector<std::unique_ptr<EnteredNamespace>> entered_;
};

}  // namespace godwit
