#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernel/mount.h"

namespace godwit {

/// The mounts of a namespace as a tree.
class MountOrder {
 public:
  /// `mounts` must stay. Those on a mount point in `skip` are left out, with all that is mounted below.
  /// Throws Error if they aren't a tree with one root.
  MountOrder(const std::vector<MountInfo>& mounts, const std::vector<std::string>& skip);

  /// The root first, each behind its parent; and of those on one parent the deepest first, so that each can
  /// be attached before another covers its place.
  [[nodiscard]] const std::vector<const MountInfo*>& mounts() const { return ordered_; }
  [[nodiscard]] const MountInfo& root() const { return *ordered_.front(); }
  [[nodiscard]] const std::vector<const MountInfo*>& children(const MountInfo& mount) const;
  /// Nothing for the root.
  [[nodiscard]] const MountInfo* parent(const MountInfo& mount) const;

 private:
  void add_all(const MountInfo& root, const std::vector<std::string>& skip);

  std::map<uint32_t, std::vector<const MountInfo*>> children_;  // by the parent's id
  std::map<uint32_t, const MountInfo*> by_id_;
  std::vector<const MountInfo*> ordered_;
};

}  // namespace godwit
