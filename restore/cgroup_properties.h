#pragma once

#include <string>
#include <vector>

#include "images-format/cgroup.pb.h"
#include "kernel/cgroup_property.h"
#include "kernel/error.h"

namespace godwit {

/// What is to be set in the cgroups of a restored tree, and when. What was set in cgroups that others had
/// made is set back by the destructor, unless it is kept.
class CgroupProperties {
 public:
  using When = CgroupProperty::When;

  CgroupProperties() = default;
  CgroupProperties(const CgroupProperties&) = delete;
  CgroupProperties& operator=(const CgroupProperties&) = delete;
  ~CgroupProperties();

  /// Parents are added before their children. Sets what can be set `until` that moment; what the kernel
  /// refuses is tried again later.
  void add(const std::string& directory, const image::CgroupDirectory& record, bool unified, bool made,
           When until);
  /// The same for all that have been added.
  void try_all(When until);
  /// All that is left but what is set last. Some depends on others, below and above: it tries as long as that
  /// helps. Throws Error that names the first that can't be set. Warns of what this kernel lacks.
  void set_all();
  /// Pauses what was paused. Throws Error.
  void set_last();
  /// Resumes what set_last has paused, so that whoever is killed there ends.
  void undo_last() noexcept;

  void keep() { undo_.clear(); }

 private:
  struct Item {
    std::string directory;
    std::string file;
    const CgroupProperty* property;
    std::string value;
    bool made;  // the cgroup, for this tree
  };
  void set(const Item& item);
  bool try_set(const Item& item, When until);

  std::vector<Item> items_;   // to be set
  std::vector<Item> paused_;  // by us
  std::vector<Item> undo_;    // in the order in which they were changed, with what was there before
};

}  // namespace godwit
