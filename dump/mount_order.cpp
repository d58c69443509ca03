#include "dump/mount_order.h"

#include <algorithm>
#include <functional>

#include "kernel/error.h"

namespace godwit {

namespace {

size_t depth(const MountInfo* mount) {
  return mount->mount_point == "/" ? 0 : static_cast<size_t>(std::ranges::count(mount->mount_point, '/'));
}

}  // namespace

MountOrder::MountOrder(const std::vector<MountInfo>& mounts, const std::vector<std::string>& skip) {
  for (const MountInfo& mount : mounts) {
    by_id_[mount.id] = &mount;
  }
  const MountInfo* root = nullptr;
  for (const MountInfo& mount : mounts) {
    if (parent(mount) != nullptr) {
      children_[mount.parent_id].push_back(&mount);
    } else if (root == nullptr) {
      root = &mount;
    } else {
      throw refusal("a mount namespace in which mount point {} ({}) isn't below the root", mount.mount_point,
                    mount.type);
    }
  }
  if (root == nullptr || root->mount_point != "/") {
    throw error("a mount namespace without a root");
  }
  add_all(*root, skip);
}

const std::vector<const MountInfo*>& MountOrder::children(const MountInfo& mount) const {
  static const std::vector<const MountInfo*> none;
  const auto found = children_.find(mount.id);
  return found == children_.end() ? none : found->second;
}

const MountInfo* MountOrder::parent(const MountInfo& mount) const {
  const auto found = by_id_.find(mount.parent_id);
  return found == by_id_.end() || found->second == &mount ? nullptr : found->second;
}

void MountOrder::add_all(const MountInfo& root, const std::vector<std::string>& skip) {
  std::vector<const MountInfo*> next{&root};
  while (!next.empty()) {
    const MountInfo& mount = *next.back();
    next.pop_back();
    ordered_.push_back(&mount);
    const auto found = children_.find(mount.id);
    if (found == children_.end()) {
      continue;
    }
    std::vector<const MountInfo*>& children = found->second;
    std::erase_if(children, [&](const MountInfo* child) {
      return std::ranges::find(skip, child->mount_point) != skip.end();
    });
    std::ranges::stable_sort(children, std::ranges::greater(), depth);
    next.insert(next.end(), children.rbegin(), children.rend());
  }
}

}  // namespace godwit
