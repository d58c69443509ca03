#include "dump/namespace.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "dump/support.h"
#include "kernel/cgroup.h"
#include "kernel/error.h"

namespace godwit {

namespace {

void collect_uts(image::UtsNamespace& record) {
  utsname names{};
  if (::uname(&names) != 0) {
    throw errno_error("cannot read the host name");
  }
  record.set_hostname(names.nodename);
  record.set_domainname(names.domainname);
}

/// Then no cgroup has to be known for it.
void refuse_unless_at_root(pid_t pid, std::string_view cgroups) {
  for (const Cgroup& cgroup : parse_cgroups(cgroups)) {
    if (cgroup.path != "/") {
      throw refusal("a root other than the cgroup of task {} ({}:{}) without keeping cgroups", pid,
                    cgroup.controllers, cgroup.path)
          .hint("--manage-cgroups keeps them");
    }
  }
}

/// What becomes of those of the tree's own, by kind.
constexpr SupportRow kSupport[] = {
    {"pid", SupportRow::Fate::Kept, "at any depth, if its first process is the root of the tree"},
    {"uts", SupportRow::Fate::Kept, "host and domain name; another by --external uts[INODE]"},
    {"ipc", SupportRow::Fate::Kept, "limits, without objects; another by --external ipc[INODE]"},
    {"net", SupportRow::Fate::Kept, "docs/network.md; another by --external net[INODE]"},
    {"cgroup", SupportRow::Fate::Kept,
     "with the root task's cgroup as its root; with --manage-cgroups, any above that; another by --external "
     "cgroup[INODE]"},
    {"mnt", SupportRow::Fate::Kept, "docs/mounts.md"},
    {"time", SupportRow::Fate::Kept, "its clocks go on from where they were"},
    {"user", SupportRow::Fate::Refused, "not looked after yet"},
};

const SupportRow& row_of(std::string_view kind) {
  const auto* row = std::ranges::find(kSupport, kind, &SupportRow::object);
  if (row == std::end(kSupport)) {
    throw error("nothing is known of {} namespaces", kind);
  }
  return *row;
}

}  // namespace

std::vector<SupportRow> namespace_support() {
  return {std::begin(kSupport), std::end(kSupport)};
}

NamespaceTable::NamespaceTable(const Namespaces& own, const DumpOptions& options)
    : own_(own), options_(options), mounts_(options.mounts) {}

void NamespaceTable::add(TaskState& task, const ThreadState& thread) {
  const bool leader = thread.tid == task.pid();
  const Namespaces its = read_namespaces(task.pid(), thread.tid);
  if (leader) {
    for (size_t i = 0; i < its.size(); ++i) {
      image::NamespaceReference& reference = *task.record.add_namespaces();
      reference.set_kind(kNamespaceKinds[i]);
      reference.set_id(its[i]);
    }
  }
  if (leader && task.parent == nullptr) {
    root_ = its;
  }
  if (its == own_) {
    if (root_ == own_) {
      return;
    }
  }
  for (size_t i = 0; i < its.size(); ++i) {
    if (its[i] == own_[i] && its[i] == root_[i]) {
      continue;
    }
    const std::string_view kind = kNamespaceKinds[i];
    if (its[i] != root_[i]) {
      throw refusal("thread {} in another {} namespace than the root of the tree", thread.tid, kind);
    }
    if (kind.ends_with("_for_children")) {
      const std::string_view own_kind = kind.substr(0, kind.find('_'));
      if (its[i] != its[namespace_index(own_kind)]) {
        throw refusal("thread {} whose children will be in another {} namespace", thread.tid, own_kind);
      }
    } else if (leader) {
      add_namespace(i, its[i], task);
    }
  }
}

void NamespaceTable::add_namespace(size_t kind, uint64_t id, const TaskState& task) {
  const auto [found, added] = records_.try_emplace(id);
  if (!added) {
    return;
  }
  image::Namespace& record = found->second;
  record.set_id(id);
  record.set_kind(kNamespaceKinds[kind]);
  record.set_task(task.pid());
  if (const auto name = external_name(options_.external, record.kind(), id)) {
    record.set_external(*name);
    return;
  }
  const auto& row = row_of(record.kind());
  if (row.fate == SupportRow::Fate::Refused) {
    throw refusal("task {} in a {} namespace of its own", task.pid(), record.kind());
  }
  if (record.kind() == "pid" && task.threads.front().status.namespace_pids.back() != 1) {
    throw refusal("task {} in a pid namespace whose first process isn't in the tree", task.pid());
  }
}

void NamespaceTable::collect(const image::Checkpoint& header) {
  for (auto& [id, record] : records_) {
    if (record.kind() == "time") {
      const ClockOffsets own = read_clock_offsets(::getpid());
      const ClockOffsets its = read_clock_offsets(record.task());
      clock_offsets_ = {its.monotonic_ns - own.monotonic_ns, its.boottime_ns - own.boottime_ns};
    }
    if (record.external().empty()) {
      with_context([&r = record] { return fmt::format("task {}: its {} namespace", r.task(), r.kind()); },
                   [&, &r = record] { collect(r, header); });
    }
    if (record.kind() == "net") {
      net_namespace_ = open_namespace(record.task(), "net");
    }
  }
}

/// A copy of ours is made again as one.
void NamespaceTable::collect_mounts(pid_t pid) {
  if (!has_copy_of_own_mounts(pid)) {
    const image::MountNamespace& space = mounts_.collect(pid);
    if (std::ranges::none_of(space.mounts(), [](const image::Mount& mount) {
          return mount.mount_point() == "/proc" && mount.root() == "/";
        })) {
      throw refusal("without a proc file system at /proc");  // through which a restore works
    }
    root_directory_ = MountCollector::root_of(pid);
  }
}

void NamespaceTable::collect(image::Namespace& record, const image::Checkpoint& header) {
  const pid_t pid = record.task();
  const Fd descriptor = open_namespace(pid, record.kind().c_str());
  const uint64_t owner = owning_user_namespace(descriptor.get());
  record.set_owner(owner == own_[namespace_index("user")] ? 0 : owner);
  if (record.kind() == "uts") {
    const EnteredNamespace entered("uts", descriptor.get());
    collect_uts(*record.mutable_uts());
  } else if (record.kind() == "ipc") {
    const EnteredNamespace entered("ipc", descriptor.get());
    collect_ipc_namespace(*record.mutable_ipc());
  } else if (record.kind() == "net") {
    const EnteredNamespace entered("net", descriptor.get());
    collect_net_namespace(*record.mutable_net(), options_, net_settings_);
  } else if (record.kind() == "mnt") {
    collect_mounts(pid);
  } else if (record.kind() == "time") {
    collect_time_namespace(*record.mutable_time(), header, clock_offsets_);
  } else if (record.kind() == "cgroup") {
    const EnteredNamespace entered("cgroup", descriptor.get());
    cgroups_inside_ = read_file(fmt::format("/proc/{}/cgroup", pid));
    if (options_.cgroups == CgroupMode::Ignore) {
      refuse_unless_at_root(pid, cgroups_inside_);
    }
  }
}

uint64_t NamespaceTable::clock_of_tree(clockid_t clock) const {
  return clock_ns(clock) + static_cast<uint64_t>(clock_offsets_.of(clock));
}

void NamespaceTable::write(CheckpointWriter& writer, MemoryObjectIds& ids) {
  for (auto& [id, record] : records_) {
    if (record.has_net()) {
      net_settings_.finish(*record.mutable_net());
    }
    writer.add(record);
  }
  mounts_.write(writer, ids);
}

}  // namespace godwit
