#include "kernel/cgroup_property.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

using Form = CgroupProperty::Form;
using When = CgroupProperty::When;

constexpr std::string_view kAllDevices = "a *:* rwm";

/// In the order in which they are set. A cpuset's processors and memory nodes come first: the rest speaks of
/// them. Real-time tasks can't be in a cgroup that has no real-time budget.
constexpr CgroupProperty kVersion1[] = {
    {.name = "cgroup.clone_children"},
    {.name = "notify_on_release"},
    {.name = "cpuset.cpus", .when = When::Entering},
    {.name = "cpuset.mems", .when = When::Entering},
    {.name = "cpuset.cpu_exclusive", .when = When::Entering},
    {.name = "cpuset.mem_exclusive", .when = When::Entering},
    {.name = "cpuset.mem_hardwall", .when = When::Entering},
    {.name = "cpuset.memory_migrate", .when = When::Entering},
    {.name = "cpuset.memory_spread_page", .when = When::Entering},
    {.name = "cpuset.memory_spread_slab", .when = When::Entering},
    {.name = "cpuset.sched_load_balance", .when = When::Entering},
    {.name = "cpuset.sched_relax_domain_level", .when = When::Entering},
    {.name = "cpu.rt_period_us", .when = When::Entering},
    {.name = "cpu.rt_runtime_us", .when = When::Entering},
    {.name = "cpu.shares"},
    {.name = "cpu.idle"},
    {.name = "cpu.cfs_period_us"},
    {.name = "cpu.cfs_quota_us"},
    {.name = "cpu.cfs_burst_us"},
    {.name = "cpu.uclamp.min"},
    {.name = "cpu.uclamp.max"},
    {.name = "memory.use_hierarchy", .when = When::Entering},
    {.name = "memory.limit_in_bytes"},
    {.name = "memory.memsw.limit_in_bytes"},
    {.name = "memory.soft_limit_in_bytes"},
    {.name = "memory.kmem.limit_in_bytes"},
    {.name = "memory.kmem.tcp.limit_in_bytes"},
    {.name = "memory.move_charge_at_immigrate"},
    {.name = "memory.swappiness"},
    {.name = "memory.oom_control", .form = Form::OomControl},
    {.name = "blkio.weight"},
    {.name = "blkio.weight_device", .form = Form::Lines, .none = "0"},
    {.name = "blkio.leaf_weight"},
    {.name = "blkio.leaf_weight_device", .form = Form::Lines, .none = "0"},
    {.name = "blkio.bfq.weight"},
    {.name = "blkio.bfq.weight_device", .form = Form::Lines, .none = "default"},
    {.name = "blkio.throttle.read_bps_device", .form = Form::Lines, .none = "0"},
    {.name = "blkio.throttle.write_bps_device", .form = Form::Lines, .none = "0"},
    {.name = "blkio.throttle.read_iops_device", .form = Form::Lines, .none = "0"},
    {.name = "blkio.throttle.write_iops_device", .form = Form::Lines, .none = "0"},
    {.name = "devices.list", .form = Form::Devices},
    {.name = "pids.max"},
    {.name = "hugetlb.*.limit_in_bytes"},
    {.name = "hugetlb.*.rsvd.limit_in_bytes"},
    {.name = "net_cls.classid"},
    {.name = "net_prio.ifpriomap", .form = Form::Lines, .none = "0"},
    {.name = "rdma.max", .form = Form::Lines, .none = "hca_handle=max hca_object=max"},
    {.name = "misc.max", .form = Form::Lines, .none = "max"},
    {.name = "freezer.state", .form = Form::Freezer, .when = When::Last},
};

constexpr CgroupProperty kVersion2[] = {
    {.name = "cgroup.subtree_control", .form = Form::Controllers, .when = When::Controllers},
    {.name = "cgroup.max.depth"},
    {.name = "cgroup.max.descendants"},
    {.name = "cgroup.pressure"},
    {.name = "cpuset.cpus"},
    {.name = "cpuset.mems"},
    {.name = "cpuset.cpus.exclusive"},
    {.name = "cpuset.cpus.partition", .form = Form::Word},
    {.name = "cpu.weight"},
    {.name = "cpu.idle"},
    {.name = "cpu.max"},
    {.name = "cpu.max.burst"},
    {.name = "cpu.uclamp.min"},
    {.name = "cpu.uclamp.max"},
    {.name = "memory.min"},
    {.name = "memory.low"},
    {.name = "memory.high"},
    {.name = "memory.max"},
    {.name = "memory.oom.group"},
    {.name = "memory.swap.high"},
    {.name = "memory.swap.max"},
    {.name = "memory.zswap.max"},
    {.name = "memory.zswap.writeback"},
    {.name = "io.weight", .form = Form::Lines, .none = "default"},
    {.name = "io.bfq.weight", .form = Form::Lines, .none = "default"},
    {.name = "io.max", .form = Form::Lines, .none = "rbps=max wbps=max riops=max wiops=max"},
    {.name = "io.latency", .form = Form::Lines, .none = "target=0"},
    {.name = "io.prio.class"},
    {.name = "pids.max"},
    {.name = "hugetlb.*.max"},
    {.name = "hugetlb.*.rsvd.max"},
    {.name = "rdma.max", .form = Form::Lines, .none = "hca_handle=max hca_object=max"},
    {.name = "misc.max", .form = Form::Lines, .none = "max"},
    {.name = "dmem.min", .form = Form::Lines, .none = "0"},
    {.name = "dmem.low", .form = Form::Lines, .none = "0"},
    {.name = "dmem.max", .form = Form::Lines, .none = "max"},
    {.name = "cgroup.freeze", .when = When::Last},
};

/// The "*" of a pattern stands for a size such as "2MB".
bool matches(std::string_view file, std::string_view pattern) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) {
    return file == pattern;
  }
  const std::string_view front = pattern.substr(0, star);
  const std::string_view back = pattern.substr(star + 1);
  return file.size() > front.size() + back.size() && file.starts_with(front) && file.ends_with(back) &&
         std::ranges::all_of(file.substr(front.size(), file.size() - front.size() - back.size()),
                             [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); });
}

std::string first_word(std::string_view text) {
  return std::string(text.substr(0, std::min(text.find_first_of(" \n"), text.size())));
}

std::string trimmed(std::string text) {
  text.resize(text.find_last_not_of(" \n") + 1);  // nothing but those: npos + 1
  return text;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end != 0) {
      parts.emplace_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool contains(const std::vector<std::string>& all, std::string_view one) {
  return std::ranges::find(all, one) != all.end();
}

/// One write(2), as the kernel wants it.
void write(const std::string& directory, std::string_view file, std::string_view value) {
  const std::string path = fmt::format("{}/{}", directory, file);
  const Fd opened = open_file(path, O_WRONLY);
  const std::string_view text = value.empty() ? "\n" : value;
  if (::write(opened.get(), text.data(), text.size()) < 0) {
    throw errno_error("cannot set {} to '{}'", path, value);
  }
}

void set_controllers(const std::string& directory, const std::string& now, const std::string& value) {
  const std::vector<std::string> have = split(now, ' ');
  const std::vector<std::string> want = split(value, ' ');
  std::string change;
  for (const std::string& one : want) {
    change += contains(have, one) ? "" : " +" + one;
  }
  for (const std::string& one : have) {
    change += contains(want, one) ? "" : " -" + one;
  }
  if (!change.empty()) {
    write(directory, "cgroup.subtree_control", std::string_view(change).substr(1));
  }
}

void set_lines(const std::string& directory, const std::string& file, const CgroupProperty& property,
               const std::string& now, const std::string& value) {
  std::map<std::string, std::string> have;
  for (const std::string& line : split(now, '\n')) {
    have[first_word(line)] = line;
  }
  for (const std::string& line : split(value, '\n')) {
    const std::string of = first_word(line);
    if (have[of] != line) {
      write(directory, file, line);
    }
    have.erase(of);
  }
  for (const auto& [of, line] : have) {
    const std::string none = fmt::format("{} {}", of, property.none);
    if (of != "default" && line != none) {
      write(directory, file, none);
    }
  }
}

/// A list that allows all can be made one that doesn't, and back, only while no cgroup is below.
void set_devices(const std::string& directory, const std::string& now, const std::string& value) {
  std::vector<std::string> have = split(now, '\n');
  const std::vector<std::string> want = split(value, '\n');
  if (contains(want, kAllDevices)) {
    return write(directory, "devices.allow", "a");
  }
  if (contains(have, kAllDevices)) {
    write(directory, "devices.deny", "a");
    have.clear();
  }
  for (const std::string& one : have) {
    if (!contains(want, one)) {
      write(directory, "devices.deny", one);
    }
  }
  for (const std::string& one : want) {
    if (!contains(have, one)) {
      write(directory, "devices.allow", one);
    }
  }
}

}  // namespace

std::span<const CgroupProperty> cgroup_properties(bool unified) {
  return unified ? std::span<const CgroupProperty>(kVersion2) : std::span<const CgroupProperty>(kVersion1);
}

const CgroupProperty* find_cgroup_property(std::string_view file, bool unified) {
  const std::span<const CgroupProperty> all = cgroup_properties(unified);
  const auto found =
      std::ranges::find_if(all, [&](const CgroupProperty& property) { return matches(file, property.name); });
  return found == all.end() ? nullptr : &*found;
}

bool is_cgroup_delegation_file(std::string_view file) {
  return file == "cgroup.procs" || file == "cgroup.threads" || file == "tasks";
}

std::optional<std::string> read_cgroup_property(const std::string& directory, const std::string& file,
                                                const CgroupProperty& property) {
  const std::string path =
      directory + "/" + (property.form == Form::Freezer ? "freezer.self_freezing" : file);
  const Fd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened) {
    if (errno == ENOENT) {
      return std::nullopt;
    }
    throw errno_error("cannot open {}", path);
  }
  std::string value;
  try {
    value = trimmed(read_all(opened.get(), path));
  } catch (const Error& e) {
    if (e.code() == EOPNOTSUPP || e.code() == EINVAL) {
      return std::nullopt;
    }
    throw;
  }
  switch (property.form) {
    case Form::Word:
      return first_word(value);
    case Form::OomControl: {
      const std::string first = value.substr(0, value.find('\n'));
      return first.substr(first.rfind(' ') + 1);
    }
    case Form::Freezer:
      return value == "1" ? "FROZEN" : "THAWED";
    case Form::Value:
    case Form::Lines:
    case Form::Controllers:
    case Form::Devices:
      break;
  }
  return value;
}

void set_cgroup_property(const std::string& directory, const std::string& file,
                         const CgroupProperty& property, const std::string& value) {
  const std::optional<std::string> now = read_cgroup_property(directory, file, property);
  if (!now) {
    throw Error(fmt::format("cgroup {} has no {}", directory, file), ENOENT);
  }
  if (*now == value) {
    return;
  }
  switch (property.form) {
    case Form::Controllers:
      return set_controllers(directory, *now, value);
    case Form::Lines:
      return set_lines(directory, file, property, *now, value);
    case Form::Devices:
      return set_devices(directory, *now, value);
    case Form::Value:
    case Form::Word:
    case Form::OomControl:
    case Form::Freezer:
      write(directory, file, value);
  }
}

}  // namespace godwit
