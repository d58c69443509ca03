#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel/namespace.h"
#include "plan/plan.h"
#include "restore/first_process.h"
#include "restore/mount.h"
#include "restore/tree_root.h"

namespace godwit {

/// Namespaces of the root that were external, open, by the record in the plan.
using ExternalNamespaces = std::map<const image::Namespace*, Fd>;

/// Which namespaces the root is cloned into: CLONE_NEW… flags.
[[nodiscard]] uint64_t namespaces_to_clone(const Plan& plan);

/// `paths`: by the name that the dump was told. Throws Error that names an external namespace of the root
/// which hasn't been given, or is none.
[[nodiscard]] ExternalNamespaces open_external_namespaces(const Plan& plan,
                                                          const std::map<std::string, std::string>& paths);

/// By the first process: joins those. Throws Error.
void join_external_namespaces(const ExternalNamespaces& external);

/// By the first process, inside: host name, loopback device, clocks. Throws Error.
void furnish_namespaces(const Plan& plan);

/// By the first process, last: the mounts of a mount namespace that isn't a copy of ours. Throws Error.
void furnish_mounts(const Plan& plan, const CheckpointImage& image, const MountSettings& settings);

/// While it lives, this process is where files and sockets of the tree are made: in the mount, network,
/// ipc and time namespaces of the first process, as far as those aren't ours anyway.
class InsideTheTree {
 public:
  /// Throws Error.
  InsideTheTree(const Plan& plan, const FirstProcess& first);

  [[nodiscard]] TreeRoot take_root() { return std::move(root_); }

 private:
  TreeRoot root_;
  std::vector<std::unique_ptr<EnteredNamespace>> entered_;
};

}  // namespace godwit
