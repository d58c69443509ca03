#include "dump/mount_view.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernel/error.h"

namespace godwit {

namespace {

/// The mount points on the way to a mount: no two mounts of a namespace have the same.
std::string place(const MountOrder& order, const MountInfo& mount) {
  std::string place = mount.mount_point;
  for (const MountInfo* above = order.parent(mount); above != nullptr; above = order.parent(*above)) {
    place = above->mount_point + '\0' + place;
  }
  return place;
}

/// A copy of the namespace that the calling thread is in, which is the thread's from then on, and in which
/// what covers others can be unmounted.
class UncoveredCopy {
 public:
  /// `proc` is ours.
  UncoveredCopy(int proc, const MountOrder& originals) : mounts_(copy(proc)), order_(mounts_, {}) {
    std::map<std::string, const MountInfo*> by_place;
    for (const MountInfo* mount : order_.mounts()) {
      by_place[place(order_, *mount)] = mount;
    }
    for (const MountInfo* original : originals.mounts()) {
      const auto found = by_place.find(place(originals, *original));
      if (found == by_place.end()) {
        throw error("a copy of the mount namespace hasn't {}", original->mount_point);
      }
      copy_of_[original->id] = found->second;
    }
  }

  /// What is mounted below it, or covers it, is unmounted.
  Fd take(const MountInfo& original) {
    const MountInfo& wanted = *copy_of_.at(original.id);
    std::set<const MountInfo*> way{&wanted};
    for (const MountInfo* above = order_.parent(wanted); above != nullptr; above = order_.parent(*above)) {
      way.insert(above);
    }
    for (;;) {
      if (const Fd there = open_visible(wanted)) {
        return clone_mount(there.get(), "");
      }
      unmount_cover(wanted, way);
    }
  }

 private:
  static std::vector<MountInfo> copy(int proc) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      throw errno_error("cannot copy the mount namespace");
    }
    return parse_mountinfo(
        read_all(open_at(proc, "thread-self/mountinfo", O_RDONLY).get(), "mountinfo of a copy"));
  }

  /// The uppermost of what is mounted on the way to `wanted`.
  void unmount_cover(const MountInfo& wanted, const std::set<const MountInfo*>& way) {
    for (const MountInfo& cover : mounts_) {
      if (way.contains(&cover) || !way.contains(order_.parent(cover)) ||
          !is_below(wanted.mount_point, cover.mount_point)) {
        continue;
      }
      const MountInfo* top = at(cover.mount_point);
      if (top == nullptr || way.contains(top) || top->mount_point != cover.mount_point) {
        continue;
      }
      if (::umount2(cover.mount_point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
        throw errno_error("cannot uncover {} in a copy of the mount namespace", wanted.mount_point);
      }
      return;
    }
    throw refusal("mount point {} ({}), to which nothing leads,", wanted.mount_point, wanted.type);
  }

  /// The mount that a path leads to.
  [[nodiscard]] const MountInfo* at(const std::string& path) const {
    const Fd there(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!there) {
      return nullptr;
    }
    const uint64_t id = mount_id_of(there.get());
    const auto found = std::ranges::find(mounts_, id, [](const MountInfo& mount) { return mount.id; });
    return found == mounts_.end() ? nullptr : &*found;
  }

  std::vector<MountInfo> mounts_;
  MountOrder order_;
  std::map<uint32_t, const MountInfo*> copy_of_;
};

std::map<uint32_t, Fd> uncovered_copies(int space, const MountOrder& order,
                                        const std::set<uint32_t>& wanted) {
  std::map<uint32_t, Fd> copies;
  const Fd proc = open_file("/proc", O_PATH | O_DIRECTORY);
  in_mount_namespace(space, [&] {
    UncoveredCopy uncovered(proc.get(), order);
    // What is mounted on a mount goes with it, and a cover comes behind what it covers.
    for (auto mount = order.mounts().rbegin(); mount != order.mounts().rend(); ++mount) {
      if (wanted.contains((*mount)->id)) {
        copies[(*mount)->id] = uncovered.take(**mount);
      }
    }
  });
  return copies;
}

}  // namespace

Fd open_visible(const MountInfo& mount) {
  Fd there(::open(mount.mount_point.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  return there && mount_id_of(there.get()) == mount.id ? std::move(there) : Fd();
}

std::map<uint32_t, Fd> detached_copies(int space, const MountOrder& order, const std::set<uint32_t>& wanted) {
  std::map<uint32_t, Fd> copies;
  std::set<uint32_t> hidden;
  in_mount_namespace(space, [&] {
    for (const MountInfo* mount : order.mounts()) {
      if (!wanted.contains(mount->id)) {
        continue;
      }
      const Fd there = mount->unbindable ? Fd() : open_visible(*mount);
      if (there) {
        copies[mount->id] = clone_mount(there.get(), "");
      } else {
        hidden.insert(mount->id);
      }
    }
  });
  if (!hidden.empty()) {
    copies.merge(uncovered_copies(space, order, hidden));
  }
  for (const auto& [id, copy] : copies) {
    set_propagation(copy.get(), MS_PRIVATE);
    set_mount_attributes(copy.get(), MOUNT_ATTR_NOATIME);
  }
  return copies;
}

}  // namespace godwit
