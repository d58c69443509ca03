#include "runtimes/managed.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/procfs.h"
#include "runtimes/command.h"
#include "runtimes/json_value.h"

namespace godwit::runtimes {

namespace {

/// As both have them.
void check_name(const Client& client, const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  };
  if (name.empty() || std::isalnum(static_cast<unsigned char>(name.front())) == 0 ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    throw error("'{}' can't be the name of a container: {} takes letters, digits and _ . -", name,
                client.name());
  }
}

/// Docker says where everything is, and has each container's checkpoints in a directory there.
std::string docker_directory(const Client& client, const std::string& id) {
  const std::string printed = client.run({"info", "--format={{json .DockerRootDir}}"});
  return with_context([] { return "docker info"; },
                      [&] {
                        const Json json = parse_json(printed, kLongestOutput);
                        return json_path(json, "DockerRootDir") + "/containers/" + id;
                      });
}

void check_directory(const Client& client, const std::string& directory) {
  struct stat status {};
  if (::lstat(directory.c_str(), &status) != 0) {
    const int code = errno;
    throw Error(
        fmt::format("cannot use {}, where {} keeps what is the container's", directory, client.name()), code,
        "godwit can't take containers of another host's");
  }
  if (!S_ISDIR(status.st_mode)) {
    throw error("{} isn't a directory", directory);
  }
}

/// Directories by controllers, below the root of each hierarchy: /proc/PID/cgroup has lines
/// ID:CONTROLLERS:PATH. Throws Error unless one is the container's, which is called by its id.
std::map<std::string, std::string> find_cgroups(const InspectedContainer& container) {
  const std::string text = read_file(fmt::format("/proc/{}/cgroup", container.pid));
  std::map<std::string, std::string> cgroups;
  bool is_the_containers = false;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    line.remove_prefix(std::min(line.find(':') + 1, line.size()));
    const std::string_view controllers = line.substr(0, line.find(':'));
    line.remove_prefix(std::min(controllers.size() + 1, line.size()));
    cgroups[std::string(controllers)] = line;
    is_the_containers = is_the_containers || line.find(container.id) != std::string_view::npos;
  }
  if (!is_the_containers) {
    throw error("task {} isn't in a cgroup of the container's", container.pid);
  }
  return cgroups;
}

/// Whether the task descends from `root`. Children of who ends meanwhile move up.
bool descends_from(pid_t task, pid_t root) {
  for (pid_t at = task; at > 1;) {
    if (at == root) {
      return true;
    }
    try {
      at = procfs::read_stat(at).parent;
    } catch (const Error& e) {
      if (!procfs::gone(e)) {
        throw;
      }
      if (at == task) {
        return true;  // it has ended, and is nobody's any more
      }
      at = task;
    }
  }
  return false;
}

/// What `podman exec` and `docker exec` started is the child of somebody outside: it isn't in a dump of the
/// tree, and would end with the pid namespace.
void refuse_guests(const Client& client, const InspectedContainer& container) {
  const std::string space = read_link(fmt::format("/proc/{}/ns/pid", container.pid));
  if (space == read_link("/proc/self/ns/pid")) {
    return;  // who is the container's can't be told; nobody ends with it
  }
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    try {
      const pid_t task = std::stoi(name);
      if (read_link("/proc/" + name + "/ns/pid") == space && procfs::read_stat(task).state != 'Z' &&
          !descends_from(task, container.pid)) {
        throw Error(fmt::format("process {} is in it, which isn't of its tree", task), 0,
                    fmt::format("'{} exec' started it; end it first", client.program()));
      }
    } catch (const Error& e) {
      // Whom we may not look into has more capabilities than we, and so more than the container's tasks.
      if (!procfs::gone(e) && e.code() != EACCES) {
        throw;
      }
    }
  }
}

/// The value of a variable in /proc/PID/environ; empty: it isn't there.
std::string variable_of(pid_t pid, std::string_view name) {
  const std::string all = read_file(fmt::format("/proc/{}/environ", pid));
  const std::string start = std::string(name) + "=";
  for (size_t at = 0; at < all.size(); at = all.find('\0', at) + 1) {
    const std::string_view one = std::string_view(all).substr(at, all.find('\0', at) - at);
    if (one.starts_with(start)) {
      return std::string(one.substr(start.size()));
    }
    if (all.find('\0', at) == std::string::npos) {
      break;
    }
  }
  return "";
}

/// The first `criu` in a PATH; empty: none.
std::string find_criu(const std::string& path) {
  for (std::string_view rest = path; !rest.empty();) {
    const std::string_view directory = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(directory.size() + 1, rest.size()));
    const std::string criu = std::string(directory) + "/criu";
    if (directory.starts_with('/') && ::access(criu.c_str(), X_OK) == 0) {
      return criu;
    }
  }
  return "";
}

/// Docker's daemon, not its client, starts who runs `criu`: the shim, whose child a container is, with the
/// PATH that the daemon was started with.
void check_criu_of_docker(pid_t container) {
  const std::string fix = fmt::format("start dockerd with {} first in PATH", directory_of_criu());
  const pid_t shim = procfs::read_stat(container).parent;
  if (!procfs::read_stat(shim).comm.starts_with("containerd-shim")) {
    return;  // whatever is written is looked at afterwards, too
  }
  const std::string criu = find_criu(variable_of(shim, "PATH"));
  if (criu.empty()) {
    throw Error("Docker's daemon finds no criu in its PATH", 0, fix);
  }
  if (run_command({criu, "--version"}, directory_of_criu()).output.find("godwit") == std::string::npos) {
    throw Error(fmt::format("Docker's daemon finds {}, which isn't godwit's", criu), 0, fix);
  }
}

}  // namespace

ManagedContainer find_managed_container(const Client& client, const std::string& name) {
  check_name(client, name);
  ManagedContainer container;
  const std::string printed = client.run({"container", "inspect", name});
  return with_context([&] { return fmt::format("{}'s container '{}'", client.name(), name); },
                      [&] {
                        container.inspected = with_context(
                            [&] { return fmt::format("what {} container inspect prints", client.program()); },
                            [&] { return parse_inspected(printed); });
                        const InspectedContainer& found = container.inspected;
                        if (found.name != name && !found.id.starts_with(name)) {
                          throw error("{} has found '{}' instead", client.name(), found.name);
                        }
                        container.directory = client.manager() == Manager::Docker
                                                  ? docker_directory(client, found.id)
                                                  : found.directory;
                        check_directory(client, container.directory);
                        return container;
                      });
}

Container check_dumpable(const Client& client, const ManagedContainer& managed, bool ends) {
  const InspectedContainer& found = managed.inspected;
  return with_context(
      [&] { return fmt::format("{}'s container '{}'", client.name(), found.name); },
      [&] {
        if (found.paused) {
          throw Error("it is paused", 0,
                      fmt::format("'{} unpause {}' has it run on", client.program(), found.name));
        }
        if (!found.running || found.pid == 0) {
          throw error("it doesn't run: its state is '{}'", found.status);
        }
        if (ends && found.removed_at_end) {
          throw Error(
              fmt::format("{} would remove it when it ends, since it was started with --rm", client.name()),
              0, "--leave-running dumps it without ending it");
        }
        // Podman knows that it has ended by a checkpoint.
        if (ends && client.manager() == Manager::Docker && !found.restart_policy.empty() &&
            found.restart_policy != "no") {
          throw Error(fmt::format("Docker would start it anew when it ends, since its restart policy is '{}'",
                                  found.restart_policy),
                      0, fmt::format("'docker update --restart=no {}' changes that", found.name));
        }
        Container container{.runtime = client.program(),
                            .name = found.name,
                            .id = found.id,
                            .pid = found.pid,
                            .start_time = procfs::read_stat(found.pid).start_time,
                            .root = found.root,
                            .bundle = "",
                            .cgroups = find_cgroups(found),
                            .network = found.network,
                            .external_mounts = found.mounts,
                            .joined = {},
                            .standard_files = {}};
        refuse_guests(client, found);
        if (client.manager() == Manager::Docker) {
          check_criu_of_docker(found.pid);
        }
        return container;
      });
}

}  // namespace godwit::runtimes
