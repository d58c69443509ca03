#include "restore/machine.h"

#include <sys/utsname.h>

#include <algorithm>
#include <set>

#include "images-format/page_store.h"
#include "images-format/task.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"
#include "kernel/xsave.h"

namespace godwit {

namespace {

/// A line of /proc/PID/cgroup without the number in front.
std::string_view without_number(std::string_view line) {
  const size_t colon = line.find(':');
  return colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
}

}  // namespace

std::vector<std::string> cgroups_missing(const Lines& wanted, std::string_view here) {
  std::set<std::string_view> have;
  while (!here.empty()) {
    const std::string_view line = here.substr(0, here.find('\n'));
    here.remove_prefix(std::min(line.size() + 1, here.size()));
    have.insert(without_number(line));
  }
  std::vector<std::string> missing;
  for (const std::string& line : wanted) {
    if (!have.contains(without_number(line))) {
      missing.emplace_back(without_number(line));
    }
  }
  return missing;
}

void warn_about_cgroups(const CheckpointImage& image, pid_t root) {
  const std::string here = read_file(fmt::format("/proc/{}/cgroup", root));
  std::set<std::string> told;
  const auto warn = [&](pid_t pid, const Lines& cgroups) {
    for (const std::string& one : cgroups_missing(cgroups, here)) {
      if (told.insert(one).second) {
        log::warning("task {} was in cgroup {}, which isn't kept: it is in those of the root now", pid, one);
      }
    }
  };
  warn(image.header().root_pid(), image.header().cgroups());
  for (const auto* task : image.all<image::Task>()) {
    warn(task->pid(0), task->cgroups());
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
