#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/namespace.h"
#include "plan/plan.h"
#include "restore/first_process.h"

namespace godwit {

/// What the dump was told to be external, by name: descriptors of the caller's.
using ExternalDescriptors = std::map<std::string, int>;

/// Which namespaces the root is cloned into: CLONE_NEW… flags.
[[nodiscard]] uint64_t namespaces_to_clone(const Plan& plan);

/// Throws Error that names an external namespace of the root which hasn't been given, or is none.
void check_external_namespaces(const Plan& plan, const ExternalDescriptors& external);

/// By the first process: joins those that are external. Throws Error.
void join_external_namespaces(const Plan& plan, const ExternalDescriptors& external);

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
