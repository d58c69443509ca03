#include "restore/machine.h"

#include <sys/utsname.h>

#include <algorithm>
#include <map>
#include <set>

#include "images-format/page_store.h"
#include "images-format/task.pb.h"
#include "kernel/cgroup.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "kernel/xsave.h"

namespace godwit {

std::vector<std::string> cgroups_missing(const image::CgroupSet& wanted, std::string_view here) {
  const std::vector<Cgroup> have = parse_cgroups(here);
  std::vector<std::string> missing;
  for (const image::CgroupPlace& place : wanted.places()) {
    if (std::ranges::none_of(have, [&](const Cgroup& cgroup) {
          return cgroup.controllers == place.controllers() && cgroup.path == place.path();
        })) {
      missing.push_back(place.controllers() + ":" + place.path());
    }
  }
  return missing;
}

void warn_about_cgroups(const CheckpointImage& image, pid_t root) {
  const std::string here = read_file(fmt::format("/proc/{}/cgroup", root));
  std::map<uint32_t, pid_t> first;  // a task that is in the set
  for (const auto* task : image.all<image::Task>()) {
    first.emplace(task->cgroup_set(), task->pid(0));
  }
  std::set<std::string> told;
  for (const auto* set : image.all<image::CgroupSet>()) {
    for (const std::string& one : cgroups_missing(*set, here)) {
      if (told.insert(one).second) {
        log::warning("task {} was in cgroup {}, which isn't kept: it is in those of the root now",
                     first.contains(set->id()) ? first.at(set->id()) : image.header().root_pid(), one);
      }
    }
  }
}

void check_machine(const image::Checkpoint& header) {
  utsname here{};
  ::uname(&here);
  if (header.machine() != here.machine) {
    throw error("the tasks ran on a machine of type {}, this one is {}", header.machine(), here.machine);
  }
  if (header.page_size() != kPageSize) {
    throw error("the tasks ran with pages of {} bytes", header.page_size());
  }
  const XsaveLayout xsave = xsave_layout();
  if (header.xsave_features() != xsave.features || header.xsave_size() != xsave.bytes) {
    throw Error(
        fmt::format("the tasks ran on a CPU with other vector registers (xsave components {:#x}, here {:#x})",
                    header.xsave_features(), xsave.features),
        0, "restore on the same kind of CPU");
  }
}

}  // namespace godwit
