#include "restore/peer_groups.h"

#include <sys/mount.h>

#include <algorithm>

#include "kernel/error.h"
#include "kernel/log.h"
#include "kernel/mount.h"

namespace godwit {

namespace {

/// Whether all that `mount` shows can be seen in `wide`. What has been removed lies in nothing but the whole
/// file system and itself.
bool shows(const image::Mount& wide, const image::Mount& mount) {
  if (mount.superblock_id() != wide.superblock_id()) {
    return false;
  }
  if (mount.removed() != 0 || wide.removed() != 0) {
    return mount.removed() == wide.removed() || wide.root() == "/";
  }
  return is_below(mount.root(), wide.root());
}

}  // namespace

PeerGroups::PeerGroups(const image::MountNamespace& space, const std::map<uint32_t, Fd>& mounts)
    : mounts_(mounts) {
  for (const image::Mount& mount : space.mounts()) {
    if (mount.peer_group() != 0) {
      Group& group = groups_[mount.peer_group()];
      group.members.push_back(&mount);
      group.master = mount.master();
    } else if (mount.master() != 0) {
      groups_[mount.master()].slaves.push_back(&mount);
    }
  }
  std::set<uint32_t> known;
  for (const auto& [id, group] : groups_) {
    known.insert(id);
  }
  for (const uint32_t id : known) {
    if (const uint32_t master = groups_.at(id).master; master != 0) {
      groups_[master].below.push_back(id);
    }
  }
  for (auto& [id, group] : groups_) {
    group.outside = group.members.empty();
  }
}

/// All members and slaves of the group, and theirs.
std::vector<const image::Mount*> PeerGroups::concerned(const Group& group) const {
  std::vector<const image::Mount*> mounts;
  std::set<const Group*> seen;
  std::vector<const Group*> next{&group};
  while (!next.empty()) {
    const Group& one = *next.back();
    next.pop_back();
    if (!seen.insert(&one).second) {
      continue;
    }
    mounts.insert(mounts.end(), one.members.begin(), one.members.end());
    mounts.insert(mounts.end(), one.slaves.begin(), one.slaves.end());
    for (const uint32_t below : one.below) {
      next.push_back(&groups_.at(below));
    }
  }
  return mounts;
}

void PeerGroups::choose_leader(Group& group, const Leaders& make) const {
  const std::vector<const image::Mount*> all = concerned(group);
  const auto widest = std::ranges::find_if(group.members, [&](const image::Mount* wide) {
    return std::ranges::all_of(all, [&](const image::Mount* mount) { return shows(*wide, *mount); });
  });
  if (widest != group.members.end()) {
    group.first = *widest;
    group.leader = mounts_.at(group.first->id()).get();
    return;
  }
  group.first = group.members.front();
  with_context([&] { return fmt::format("propagation of mount point {}", group.first->mount_point()); },
               [&] { group.made = make.make_wide(all); });
  group.leader = group.made.get();
}

void PeerGroups::make_leaders(const Leaders& make) {
  for (auto& [id, group] : groups_) {
    if (!group.outside) {
      choose_leader(group, make);
    }
  }
  for (const auto& [id, group] : groups_) {
    if (!group.outside) {
      continue;
    }
    for (const image::Mount* slave : group.slaves) {
      outer_[slave->id()] = make.outer(*slave);
    }
    for (const uint32_t below : group.below) {
      const image::Mount& first = *groups_.at(below).first;
      outer_[first.id()] = make.outer(first);
    }
  }
}

/// Masters come before their slaves.
void PeerGroups::set() {
  std::vector<uint32_t> next;
  for (const auto& [id, group] : groups_) {
    if (!groups_.contains(group.master)) {
      next.push_back(id);
    }
  }
  size_t done = 0;
  while (!next.empty()) {
    Group& group = groups_.at(next.back());
    next.pop_back();
    set_group(group);
    next.insert(next.end(), group.below.begin(), group.below.end());
    ++done;
  }
  if (done != groups_.size()) {
    throw error("peer groups that are each other's masters");
  }
}

/// By becoming a member of the group, and leaving it again. `mount`: for which it is done.
void PeerGroups::become_slave(const Group& group, int member, const image::Mount& mount) const {
  const int master = group.outside ? outer_.at(mount.id()).get() : group.leader;
  if (master < 0) {
    log::warning("mount point {} was the slave of mounts outside; what it is taken from now isn't shared",
                 mount.mount_point());
    return;
  }
  join_peer_group(master, member);
  set_propagation(member, MS_SLAVE);
}

void PeerGroups::set_group(Group& group) {
  const auto about = [](const image::Mount* mount) {
    return [mount] { return fmt::format("propagation of mount point {}", mount->mount_point()); };
  };
  if (!group.outside) {
    with_context(about(group.first), [&] {
      if (const auto master = groups_.find(group.master); master != groups_.end()) {
        become_slave(master->second, group.leader, *group.first);
      }
      set_propagation(group.leader, MS_SHARED);
    });
  }
  for (const image::Mount* mount : group.members) {
    if (const int member = mounts_.at(mount->id()).get(); member != group.leader) {
      with_context(about(mount), [&] { join_peer_group(group.leader, member); });
    }
  }
  for (const image::Mount* mount : group.slaves) {
    with_context(about(mount), [&] { become_slave(group, mounts_.at(mount->id()).get(), *mount); });
  }
}

}  // namespace godwit
