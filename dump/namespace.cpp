#include "dump/namespace.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "kernel/error.h"

namespace godwit {

namespace {

constexpr uint64_t kBillion = 1'000'000'000;

size_t count_lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

void collect_uts(image::UtsNamespace& record) {
  utsname names{};
  if (::uname(&names) != 0) {
    throw errno_error("cannot read the host name");
  }
  record.set_hostname(names.nodename);
  record.set_domainname(names.domainname);
}

/// A mqueue mount of our own, since the tasks needn't have one. It shows the namespace that we are in.
void refuse_message_queues() {
  const Fd context(static_cast<int>(::syscall(SYS_fsopen, "mqueue", 1 /* FSOPEN_CLOEXEC */)));
  if (!context) {
    if (errno == ENODEV) {
      return;  // a kernel without them
    }
    throw errno_error("cannot look for POSIX message queues");
  }
  constexpr int kCreate = 6;  // FSCONFIG_CMD_CREATE
  if (::syscall(SYS_fsconfig, context.get(), kCreate, nullptr, nullptr, 0) != 0) {
    throw errno_error("cannot look for POSIX message queues");
  }
  const Fd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), 1 /* FSMOUNT_CLOEXEC */, 0)));
  if (!mount) {
    throw errno_error("cannot look for POSIX message queues");
  }
  const Fd directory = open_at(mount.get(), ".", O_RDONLY | O_DIRECTORY);
  alignas(8) char entries[1024];
  const long bytes = ::syscall(SYS_getdents64, directory.get(), entries, sizeof entries);
  // A struct linux_dirent64 for each of "." and ".." takes 24 bytes.
  if (bytes > 2 * 24) {
    throw refusal("a POSIX message queue");
  }
}

void refuse_ipc_objects() {
  struct Table {
    const char* path;
    const char* name;
  };
  for (const Table& table : {Table{"/proc/sysvipc/shm", "System V shared memory"},
                             Table{"/proc/sysvipc/sem", "System V semaphores"},
                             Table{"/proc/sysvipc/msg", "a System V message queue"}}) {
    if (count_lines(read_file(table.path)) > 1) {
      throw refusal("{}", table.name);
    }
  }
  refuse_message_queues();
}

std::vector<uint64_t> numbers(std::string_view text) {
  std::vector<uint64_t> found;
  while (!text.empty()) {
    const size_t begin = text.find_first_of("0123456789");
    if (begin == std::string_view::npos) {
      break;
    }
    text.remove_prefix(begin);
    uint64_t value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    found.push_back(value);
  }
  return found;
}

void collect_id_map(const std::string& path, google::protobuf::RepeatedPtrField<image::IdRange>& ranges) {
  const std::vector<uint64_t> map = numbers(read_file(path));
  for (size_t i = 0; i + 2 < map.size(); i += 3) {
    image::IdRange& range = *ranges.Add();
    range.set_inside(static_cast<uint32_t>(map[i]));
    range.set_outside(static_cast<uint32_t>(map[i + 1]));
    range.set_count(static_cast<uint32_t>(map[i + 2]));
  }
}

void collect_user(pid_t pid, image::UserNamespace& record) {
  collect_id_map(fmt::format("/proc/{}/uid_map", pid), *record.mutable_uids());
  collect_id_map(fmt::format("/proc/{}/gid_map", pid), *record.mutable_gids());
  record.set_setgroups_denied(read_file(fmt::format("/proc/{}/setgroups", pid)).starts_with("deny"));
}

/// A line of timens_offsets(5): "monotonic  -3  999999999".
int64_t offset_ns(const std::string& text, std::string_view clock) {
  const size_t at = text.find(clock);
  if (at == std::string::npos) {
    throw error("cannot find the {} clock in timens_offsets", clock);
  }
  std::string_view rest = std::string_view(text).substr(at + clock.size());
  const auto take = [&rest] {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    int64_t value = 0;
    const auto end = std::from_chars(rest.data(), rest.data() + rest.size(), value).ptr;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return value;
  };
  const int64_t seconds = take();
  return seconds * static_cast<int64_t>(kBillion) + take();
}

/// Offsets count from the initial namespace, the clocks of the header are those of ours.
void collect_time(pid_t pid, const image::Checkpoint& header, image::TimeNamespace& record) {
  const std::string theirs = read_file(fmt::format("/proc/{}/timens_offsets", pid));
  const std::string ours = read_file("/proc/self/timens_offsets");
  const auto clock = [&](std::string_view name, uint64_t now) {
    return static_cast<int64_t>(now) + offset_ns(theirs, name) - offset_ns(ours, name);
  };
  record.set_monotonic_ns(clock("monotonic", header.monotonic_ns()));
  record.set_boottime_ns(clock("boottime", header.boottime_ns()));
}

/// What a task's cgroups are called inside tells where the namespace's root is.
void refuse_unless_at_root(pid_t pid) {
  const std::string lines = read_file(fmt::format("/proc/{}/cgroup", pid));
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string_view line = std::string_view(lines).substr(at, end - at);
    if (!line.ends_with(":/")) {
      throw refusal("a root other than the cgroup of task {} ({})", pid, line);
    }
    at = end + 1;
  }
}

}  // namespace

NamespaceTable::NamespaceTable(const Namespaces& own, const DumpOptions& options)
    : own_(own), mounts_(options.mounts), empty_network_(options.empty_network) {
  for (const std::string& external : options.external) {
    if (const size_t colon = external.find("]:"); colon != std::string::npos) {
      externals_[external.substr(0, colon + 1)] = external.substr(colon + 2);
    }
  }
}

bool NamespaceTable::is_external(size_t kind, uint64_t id) const {
  return externals_.contains(fmt::format("{}[{}]", kNamespaceKinds[kind], id));
}

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
  if (is_external(kind, id)) {
    record.set_external(externals_.at(fmt::format("{}[{}]", kNamespaceKinds[kind], id)));
    return;
  }
  if (record.kind() == "user" || record.kind() == "time") {
    throw refusal("task {} in a {} namespace of its own", task.pid(), record.kind());
  }
  if (record.kind() == "pid" && task.threads.front().status.namespace_pids.back() != 1) {
    throw refusal("task {} in a pid namespace whose first process isn't in the tree", task.pid());
  }
}

void NamespaceTable::collect(const image::Checkpoint& header) {
  for (auto& [id, record] : records_) {
    if (record.external().empty()) {
      with_context([&r = record] { return fmt::format("task {}: its {} namespace", r.task(), r.kind()); },
                   [&, &r = record] { collect(r, header); });
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
    refuse_ipc_objects();
  } else if (record.kind() == "net") {
    const EnteredNamespace entered("net", descriptor.get());
    collect_net_namespace(*record.mutable_net(), empty_network_);
  } else if (record.kind() == "user") {
    collect_user(pid, *record.mutable_user());
  } else if (record.kind() == "time") {
    collect_time(pid, header, *record.mutable_time());
  } else if (record.kind() == "mnt") {
    collect_mounts(pid);
  } else if (record.kind() == "cgroup") {
    const EnteredNamespace entered("cgroup", descriptor.get());
    refuse_unless_at_root(pid);
  }
}

void NamespaceTable::write(CheckpointWriter& writer, MemoryObjectIds& ids) {
  for (const auto& [id, record] : records_) {
    writer.add(record);
  }
  mounts_.write(writer, ids);
}

}  // namespace godwit
