#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Properties of cgroups: the files in their directories that say something of the cgroup's own and can be
/// written. cgroups(7), Documentation/admin-guide/cgroup-v1/, Documentation/admin-guide/cgroup-v2.rst.
namespace godwit {

struct CgroupProperty {
  /// How what is read is written.
  enum class Form : uint8_t {
    Value,        // as it is
    Word,         // its first word, which the rest explains
    Lines,        // each line by itself; its first word says what of
    Controllers,  // "a b" by "+a +b"
    Devices,      // devices.list, by devices.deny and devices.allow
    OomControl,   // the number in the first line
    Freezer,      // freezer.state, which also says what is above: see freezer.self_freezing
  };
  /// When a restore can set it.
  enum class When : uint8_t {
    Entering,     // before tasks are in the cgroup
    Controllers,  // when it has no processes, and before those below it get properties
    Late,         // when memory and files of the tree are there, which it may limit
    Last,         // when nothing of the tree has to run any more
  };

  std::string_view name;  // of the file; "*" stands for a size, as in "hugetlb.*.max"
  Form form = Form::Value;
  When when = When::Late;
  std::string_view none = {};  // Lines: what is written behind a first word that isn't to have a line
};

/// Those of version 2, or of version 1.
[[nodiscard]] std::span<const CgroupProperty> cgroup_properties(bool unified);
/// Null: the file isn't a property that is known.
[[nodiscard]] const CgroupProperty* find_cgroup_property(std::string_view file, bool unified);
/// Files that processes are moved by: not properties, but they have owners by which cgroups are delegated.
[[nodiscard]] bool is_cgroup_delegation_file(std::string_view file);

/// The value of a property of the cgroup `directory`, in the form in which set_cgroup_property takes it.
/// Nothing: there is no such file, or it has no value. Throws Error.
[[nodiscard]] std::optional<std::string> read_cgroup_property(const std::string& directory,
                                                              const std::string& file,
                                                              const CgroupProperty& property);
/// Makes it so, if it isn't. Throws Error, with ENOENT if there is no such file.
void set_cgroup_property(const std::string& directory, const std::string& file,
                         const CgroupProperty& property, const std::string& value);

}  // namespace godwit
