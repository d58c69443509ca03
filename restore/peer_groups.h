#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "images-format/mount.pb.h"
#include "kernel/fd.h"

namespace godwit {

/// Gives the mounts of a namespace, which are all private (or slaves of mounts outside), their propagation.
class PeerGroups {
 public:
  /// `mounts`: by id. A widest member of a group may be missing; `wide` then makes one of the same source,
  /// mounted where nobody sees it.
  using MakeWide = std::function<Fd(const image::Mount&)>;
  PeerGroups(const image::MountNamespace& space, const std::map<uint32_t, Fd>& mounts)
      : space_(space), mounts_(mounts) {}

  /// Groups with which the root of the namespace has nothing to do. Throws Error.
  void set_others(const MakeWide& make_wide);
  /// The root's group, and those below it. Throws Error.
  void set_root();

 private:
  [[nodiscard]] bool exists(uint32_t group) const;
  [[nodiscard]] bool has_to_do_with_root(uint32_t group) const;
  [[nodiscard]] uint32_t master_of(uint32_t group) const;
  [[nodiscard]] bool covers(const image::Mount& wide, uint32_t group) const;
  void set_groups(bool of_root, const MakeWide& make_wide);
  void set_group(uint32_t group, const MakeWide& make_wide);

  const image::MountNamespace& space_;
  const std::map<uint32_t, Fd>& mounts_;
  std::map<uint32_t, int> leaders_;  // descriptor of the widest member, by group
  std::map<uint32_t, Fd> made_;      // owned ones of these
};

}  // namespace godwit
