#include "restore/peer_groups.h"

#include <sys/mount.h>

#include <algorithm>
#include <set>

#include "kernel/error.h"
#include "kernel/mount.h"

namespace godwit {

bool PeerGroups::exists(uint32_t group) const {
  return std::ranges::any_of(space_.mounts(),
                             [&](const image::Mount& mount) { return mount.peer_group() == group; });
}

uint32_t PeerGroups::master_of(uint32_t group) const {
  for (const image::Mount& mount : space_.mounts()) {
    if (mount.peer_group() == group) {
      return mount.master();
    }
  }
  return 0;
}

bool PeerGroups::has_to_do_with_root(uint32_t group) const {
  std::set<uint32_t> seen;
  for (; group != 0 && seen.insert(group).second; group = master_of(group)) {
    if (space_.mounts(0).peer_group() == group) {
      return true;
    }
  }
  return false;
}

/// Whether all members and slaves of the group, and theirs, are below the root of `wide`.
bool PeerGroups::covers(const image::Mount& wide, uint32_t group) const {
  std::set<uint32_t> groups{group};
  for (size_t known = 0; known != groups.size();) {
    known = groups.size();
    for (const image::Mount& mount : space_.mounts()) {
      if (mount.peer_group() != 0 && groups.contains(mount.master())) {
        groups.insert(mount.peer_group());
      }
    }
  }
  return std::ranges::all_of(space_.mounts(), [&](const image::Mount& mount) {
    const bool concerned = groups.contains(mount.peer_group()) || groups.contains(mount.master());
    return !concerned ||
           (mount.superblock_id() == wide.superblock_id() && is_below(mount.root(), wide.root()));
  });
}

void PeerGroups::set_others(const MakeWide& make_wide) {
  set_groups(false, make_wide);
}

void PeerGroups::set_root() {
  set_groups(true, {});
}

/// Masters come before their slaves.
void PeerGroups::set_groups(bool of_root, const MakeWide& make_wide) {
  std::set<uint32_t> left;
  for (const image::Mount& mount : space_.mounts()) {
    if (mount.peer_group() != 0 && has_to_do_with_root(mount.peer_group()) == of_root) {
      left.insert(mount.peer_group());
    }
  }
  while (!left.empty()) {
    const auto next =
        std::ranges::find_if(left, [&](uint32_t group) { return !left.contains(master_of(group)); });
    if (next == left.end()) {
      throw error("peer groups that are each other's masters");
    }
    set_group(*next, make_wide);
    left.erase(next);
  }
  for (const image::Mount& mount : space_.mounts()) {
    const auto master = leaders_.find(mount.master());
    if (mount.peer_group() == 0 && master != leaders_.end() &&
        has_to_do_with_root(mount.master()) == of_root) {
      with_context([&] { return fmt::format("mount point {}", mount.mount_point()); },
                   [&] {
                     const int member = mounts_.at(mount.id()).get();
                     join_peer_group(master->second, member);
                     set_propagation(member, MS_SLAVE);
                   });
    }
  }
}

void PeerGroups::set_group(uint32_t group, const MakeWide& make_wide) {
  const image::Mount* first = nullptr;
  const image::Mount* widest = nullptr;
  for (const image::Mount& mount : space_.mounts()) {
    if (mount.peer_group() == group) {
      first = first == nullptr ? &mount : first;
      widest = widest == nullptr && covers(mount, group) ? &mount : widest;
    }
  }
  with_context([&] { return fmt::format("peer group {} of mount point {}", group, first->mount_point()); },
               [&] {
                 int leader = -1;
                 if (widest != nullptr || !make_wide) {
                   leader = mounts_.at((widest != nullptr ? widest : first)->id()).get();
                 } else {
                   leader = (made_[group] = make_wide(*first)).get();
                 }
                 if (const auto master = leaders_.find(first->master()); master != leaders_.end()) {
                   join_peer_group(master->second, leader);
                   set_propagation(leader, MS_SLAVE);
                 }
                 set_propagation(leader, MS_SHARED);
                 leaders_[group] = leader;
                 for (const image::Mount& mount : space_.mounts()) {
                   const int member = mounts_.at(mount.id()).get();
                   if (mount.peer_group() == group && member != leader) {
                     join_peer_group(leader, member);
                   }
                 }
               });
}

}  // namespace godwit
