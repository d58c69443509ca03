#include "runtimes/runc.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <filesystem>
#include <span>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/mount.h"
#include "kernel/procfs.h"
#include "program/output.h"
#include "runtimes/runc_state.h"

namespace godwit::runtimes {

namespace {

/// As runc has them. What is such a name can't lead out of runc's directory either.
void check_name(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("_+,-.").find(static_cast<char>(c)) != std::string::npos;
  };
  if (name.empty() || name.size() > NAME_MAX || name == "." || name == ".." || name.front() == '-' ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    throw error("'{}' can't be the name of a container: runc takes letters, digits and _ + , - .", name);
  }
}

std::string state_file(const std::string& root, const std::string& name) {
  return root + "/" + name + "/state.json";
}

/// Not more than a state may have: whoever parses it refuses what is longer.
std::string read_start(int fd, const std::string& path) {
  std::string text(kLongestState + 1, '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = ::read(fd, text.data() + filled, text.size() - filled);
    if (got < 0 && errno != EINTR) {
      throw errno_error("cannot read {}", path);
    }
    if (got == 0) {
      break;
    }
    filled += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  text.resize(filled);
  return text;
}

/// Nothing: runc knows no such container.
std::optional<RuncState> read_state(const std::string& root, const std::string& name) {
  check_name(name);
  const std::string path = state_file(root, name);
  // Something other than a file may have that name, and must not keep us waiting.
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!file && (errno == ENOENT || errno == ENOTDIR)) {
    return std::nullopt;
  }
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw errno_error("cannot open {}", path);
  }
  return with_context([&] { return fmt::format("runc's {}", path); },
                      [&] {
                        if (!S_ISREG(status.st_mode)) {
                          throw error("it isn't a regular file");
                        }
                        RuncState state = parse_runc_state(read_start(file.get(), path));
                        if (state.id != name) {
                          throw error("it is of container '{}'", state.id);
                        }
                        return state;
                      });
}

/// The first task, which is there with that pid only as long as it hasn't ended.
bool first_task_lives(const RuncState& state) {
  try {
    const procfs::Stat stat = procfs::read_stat(state.pid);
    return stat.start_time == state.start_time && stat.state != 'Z' && stat.state != 'X';
  } catch (const Error& e) {
    if (procfs::gone(e)) {
      return false;
    }
    throw;
  }
}

/// Whether `directory`, somewhere in a file system of cgroups, can be `path` of /proc/PID/cgroup or above it.
bool can_hold(std::string_view directory, std::string_view path) {
  while (path.size() > 1) {
    if (directory.ends_with(path)) {
      return true;
    }
    path.remove_suffix(path.size() - path.rfind('/'));
  }
  return false;
}

/// Each line is ID:CONTROLLERS:PATH. Controllers have commas in between.
void check_cgroups(const RuncState& state) {
  const std::string text = read_file(fmt::format("/proc/{}/cgroup", state.pid));
  for (const auto& [controller, directory] : state.cgroups) {
    for (std::string_view rest = text; !rest.empty();) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      line.remove_prefix(std::min(line.find(':') + 1, line.size()));
      const std::string controllers = fmt::format(",{},", line.substr(0, line.find(':')));
      line.remove_prefix(std::min(line.find(':') + 1, line.size()));
      if (controllers.find(fmt::format(",{},", controller)) != std::string::npos &&
          !can_hold(directory, line)) {
        throw error("task {} isn't in the container's cgroup {}", state.pid, directory);
      }
    }
  }
}

/// What runc names as external when it checkpoints; its restore binds that anew.
class ExternalMounts {
 public:
  explicit ExternalMounts(const RuncState& state)
      : state_(state),
        root_(open_file(fmt::format("/proc/{}/root", state.pid), O_PATH | O_DIRECTORY)),
        mounts_(parse_mountinfo(read_file(fmt::format("/proc/{}/mountinfo", state.pid)))) {}

  std::map<std::string, std::string> find() {
    for (const RuncState::Mount& mount : state_.mounts) {
      if (mount.kind == "bind") {
        add(mount.destination);
      } else if (mount.kind == "cgroup" && !has_cgroup_namespace()) {
        add_cgroups(mount.destination);
      }
    }
    for (const std::string& device : state_.devices) {  // bound where they can't be made: in a user namespace
      add(device);
    }
    for (const std::string& path : state_.masked_paths) {
      add_mask(path);
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool has_cgroup_namespace() const {
    return std::any_of(state_.namespaces.begin(), state_.namespaces.end(),
                       [](const RuncState::Namespace& one) { return one.type == "NEWCGROUP"; });
  }

  /// Null: nothing is mounted there (any more).
  [[nodiscard]] const MountInfo* mounted_at(const std::string& path) const {
    const auto topmost = std::find_if(mounts_.rbegin(), mounts_.rend(),
                                      [&](const MountInfo& mount) { return mount.mount_point == path; });
    return topmost == mounts_.rend() ? nullptr : &*topmost;
  }

  [[nodiscard]] std::string resolved(const std::string& path) const {
    return resolve_in_root(root_.get(), path).value_or("");
  }

  void add(const std::string& destination) {
    const std::string path = resolved(destination);
    if (mounted_at(path) != nullptr) {
      found_[path] = path;
    }
  }

  /// Version 1 without a namespace: each hierarchy's cgroup is bound below the mount.
  void add_cgroups(const std::string& destination) {
    const std::string above = resolved(destination);
    for (const MountInfo& mount : mounts_) {
      if (mount.type == "cgroup" && !above.empty() && is_below(mount.mount_point, above) &&
          mount.mount_point != above) {
        found_[mount.mount_point] = mount.mount_point;
      }
    }
  }

  /// Directories are masked by a tmpfs, which is the container's own; files by /dev/null.
  void add_mask(const std::string& path) {
    const Fd masked = open_in_root(root_.get(), path);
    struct stat status {};
    if (masked && ::fstat(masked.get(), &status) == 0 && !S_ISDIR(status.st_mode) &&
        mounted_at(path) != nullptr) {
      found_[path] = "/dev/null";
    }
  }

  const RuncState& state_;
  Fd root_;
  std::vector<MountInfo> mounts_;
  std::map<std::string, std::string> found_;
};

/// Where a namespace of this type stands in /proc/PID/ns; and runc's own word for it, in names.
struct NamespaceWords {
  std::string_view type;
  const char* kind;
};
constexpr std::array kNamespaces{NamespaceWords{"NEWNET", "net"},       NamespaceWords{"NEWPID", "pid"},
                                 NamespaceWords{"NEWIPC", "ipc"},       NamespaceWords{"NEWUTS", "uts"},
                                 NamespaceWords{"NEWNS", "mnt"},        NamespaceWords{"NEWUSER", "user"},
                                 NamespaceWords{"NEWCGROUP", "cgroup"}, NamespaceWords{"NEWTIME", "time"}};

std::vector<JoinedNamespace> joined_namespaces(const RuncState& state) {
  std::vector<JoinedNamespace> joined;
  for (const RuncState::Namespace& one : state.namespaces) {
    const auto* const words = std::find_if(kNamespaces.begin(), kNamespaces.end(),
                                           [&](const NamespaceWords& w) { return w.type == one.type; });
    if (words == kNamespaces.end()) {
      throw refusal("a container with a namespace of type '{}'", one.type);
    }
    if (one.path.empty()) {
      continue;
    }
    if (one.type != "NEWNET") {
      throw refusal("a container that joined the {} namespace {}, which runc's restore doesn't join again,",
                    words->kind, one.path);
    }
    struct stat there {};
    struct stat here {};
    const std::string inside = fmt::format("/proc/{}/ns/net", state.pid);
    if (::stat(one.path.c_str(), &there) != 0 || ::stat(inside.c_str(), &here) != 0 ||
        there.st_dev != here.st_dev || there.st_ino != here.st_ino) {
      throw error("{} isn't the network namespace of the container's, which joined it", one.path);
    }
    joined.push_back({.kind = words->kind, .inode = here.st_ino, .path = one.path, .name = "extRootNetNS"});
  }
  return joined;
}

/// Those who have runc make containers believe that theirs have ended when they are dumped behind their back.
void refuse_others_containers(const RuncState& state) {
  if (state.manager == "libpod") {
    throw Error(fmt::format("the container is Podman's"), 0,
                "use --podman, which dumps and restores it through Podman");
  }
  if (!state.manager.empty()) {
    throw error("the container is managed by {}", state.manager);
  }
}

}  // namespace

Container find_runc_container(const std::string& root, const std::string& name) {
  const std::optional<RuncState> state = read_state(root, name);
  if (!state) {
    throw Error(fmt::format("runc has no container '{}' in {}", name, root), 0,
                "'runc list' shows which there are, and --runtime-root says where else to look");
  }
  return with_context([&] { return fmt::format("runc's container '{}'", name); },
                      [&] {
                        if (!first_task_lives(*state)) {
                          throw error("it has ended: task {} isn't the one that runc started", state->pid);
                        }
                        std::error_code none;
                        if (std::filesystem::exists(fmt::format("{}/{}/exec.fifo", root, name), none)) {
                          throw error("it has been created, but not started");
                        }
                        refuse_others_containers(*state);
                        check_cgroups(*state);
                        return Container{.runtime = "runc",
                                         .name = name,
                                         .id = "",
                                         .pid = state->pid,
                                         .start_time = state->start_time,
                                         .root = state->root,
                                         .bundle = state->bundle,
                                         .cgroups = state->cgroups,
                                         .network = "",
                                         .external_mounts = ExternalMounts(*state).find(),
                                         .joined = joined_namespaces(*state),
                                         .standard_files = state->standard_files};
                      });
}

void write_runc_descriptors(const Container& container, int directory, const std::string& path, bool sync) {
  std::string text;
  for (const std::string& file : container.standard_files) {
    text += (text.empty() ? "[" : ",") + json_string(file);
  }
  text += "]";
  const std::string name = path + "/" + kRuncDescriptors;
  const Fd file(::openat(directory, kRuncDescriptors, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) {
    throw errno_error("cannot create {}", name);
  }
  try {
    write_all(file.get(), std::as_bytes(std::span(text)), name);
    if (sync && (::fsync(file.get()) != 0 || ::fsync(directory) != 0)) {
      throw errno_error("cannot sync {}", name);
    }
  } catch (const Error&) {
    ::unlinkat(directory, kRuncDescriptors, 0);
    throw;
  }
}

std::optional<RuncRecord> find_runc_record(const std::string& root, const std::string& name) {
  const std::optional<RuncState> state = read_state(root, name);
  if (!state) {
    return std::nullopt;
  }
  refuse_others_containers(*state);
  return RuncRecord{.runs = first_task_lives(*state), .bundle = state->bundle};
}

}  // namespace godwit::runtimes
