#include "dump/mount_types.h"

#include <algorithm>
#include <iterator>

#include "dump/support.h"

namespace godwit {

namespace {

using enum MountContent;

constexpr MountType kMade[] = {
    {"tmpfs", Files, "made anew, with all that mounts of the namespace show of it"},
    {"ramfs", Files, "made anew, with all that mounts of the namespace show of it"},
    {"proc", Kernels, "made anew"},
    {"sysfs", Kernels, "made anew"},
    {"devpts", Terminals, "made anew, with the terminals that tasks have open and whose masters are outside"},
    {"mqueue", Refused, "made anew; refused with queues in it"},
    {"cgroup", Kernels, "made anew"},
    {"cgroup2", Kernels, "made anew"},
    {"debugfs", Kernels, "made anew"},
    {"tracefs", Kernels, "made anew"},
    {"securityfs", Kernels, "made anew"},
    {"pstore", Kernels, "made anew"},
    {"configfs", Kernels, "made anew"},
    {"fusectl", Kernels, "made anew"},
    {"binfmt_misc", Kernels, "made anew"},
    {"efivarfs", Kernels, "made anew"},
    {"bpf", Refused, "made anew; refused with objects in it"},
    {"hugetlbfs", Refused, "made anew; refused with files in it"},
};

}  // namespace

const MountType* find_made_type(std::string_view name) {
  const auto* found = std::ranges::find(kMade, name, &MountType::name);
  return found == std::end(kMade) ? nullptr : found;
}

std::vector<SupportRow> mount_support() {
  std::vector<SupportRow> rows;
  for (const MountType& type : kMade) {
    rows.push_back({type.name, SupportRow::Fate::Kept, type.words});
  }
  rows.push_back({"any that is mounted outside", SupportRow::Fate::Kept,
                  "taken from there: by the name that the dump was told (--external "
                  "mnt[PLACE]), else by its path"});
  rows.push_back({"any other", SupportRow::Fate::Refused,
                  "it could only be made again empty, which --enable-fs asks for"});
  return rows;
}

}  // namespace godwit
