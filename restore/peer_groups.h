#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "images-format/mount.pb.h"
#include "kernel/fd.h"

namespace godwit {

/// Gives the mounts of a namespace, which are all private, their propagation.
///
/// A mount joins a group through a member of it (or a slave) that shows at least as much of the file system,
/// so each group has a leader that shows what any mount needs that is in it or below it in the chain of
/// masters. Where none of the image's mounts does, a detached one stands in for it.
class PeerGroups {
 public:
  /// `mounts`: by id.
  PeerGroups(const image::MountNamespace& space, const std::map<uint32_t, Fd>& mounts);

  /// While sources are there: gets leaders that no mount of the image can be. Throws Error.
  struct Leaders {
    /// A detached private mount that shows what all of these do.
    std::function<Fd(const std::vector<const image::Mount*>&)> make_wide;
    /// A detached slave of the mounts outside that the source of a mount belongs to, as wide as that source;
    /// nothing if it is private.
    std::function<Fd(const image::Mount&)> outer;
  };
  void make_leaders(const Leaders& make);
  /// When all mounts are in their places. Throws Error.
  void set();

 private:
  struct Group {
    uint32_t master = 0;
    std::vector<const image::Mount*> members;
    std::vector<const image::Mount*> slaves;  // in no group themselves
    std::vector<uint32_t> below;              // groups whose master it is
    bool outside = false;                     // only its slaves are mounts of the image
    const image::Mount* first = nullptr;      // its leader, or shows what the leader shows
    Fd made;                                  // the leader, if it is none of the members
    int leader = -1;
  };

  [[nodiscard]] std::vector<const image::Mount*> concerned(const Group& group) const;
  void choose_leader(Group& group, const Leaders& make) const;
  void set_group(Group& group);
  void become_slave(const Group& group, int member, const image::Mount& mount) const;

  const std::map<uint32_t, Fd>& mounts_;
  std::map<uint32_t, Group> groups_;
  std::map<uint32_t, Fd> outer_;  // by id of a slave of mounts outside
};

}  // namespace godwit
