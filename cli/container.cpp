#include "cli/container.h"

#include <algorithm>
#include <set>

#include "kernel/error.h"
#include "program/output.h"
#include "runtimes/runc.h"

namespace godwit::cli {

namespace {

template <typename Range, typename Text>
std::string joined(const Range& range, const Text& text) {
  std::string all;
  for (const auto& one : range) {
    all += (all.empty() ? "" : ", ") + text(one);
  }
  return all;
}

std::string line(const char* what, const std::string& value) {
  return value.empty() ? "" : fmt::format("  {:<23}{}\n", what, value);
}

std::string json_object(const std::map<std::string, std::string>& map) {
  return "{" +
         joined(
             map,
             [](const auto& entry) { return json_string(entry.first) + ": " + json_string(entry.second); }) +
         "}";
}

}  // namespace

void add_container_options(CommandLine& line, ContainerFlags& flags, const char* what) {
  line.option("--runc", "NAME", flags.runc, what);
  line.option("--runtime-root", "DIR", flags.runtime_root,
              "Where the runtime keeps its state, as its own option --root says; of runc /run/runc");
  line.option("--podman", "NAME", flags.podman, "Not yet; says what to do instead");
  line.option("--docker", "NAME", flags.docker, "Not yet; says what to do instead");
}

void ContainerFlags::check() const {
  if ((runc.empty() ? 0 : 1) + (podman.empty() ? 0 : 1) + (docker.empty() ? 0 : 1) > 1) {
    throw UsageError("a container has one runtime: --runc, --podman and --docker exclude each other");
  }
  if (!runtime_root.empty() && !given()) {
    throw UsageError("--runtime-root goes with --runc");
  }
  if (!podman.empty()) {
    throw Error(
        "a container of Podman's can't be taken by name yet", 0,
        fmt::format("'podman container checkpoint {0}' and 'podman container restore {0}' use godwit if "
                    "its directory is first in PATH",
                    podman));
  }
  if (!docker.empty()) {
    throw Error(
        "a container of Docker's can't be taken by name yet", 0,
        fmt::format("'docker checkpoint create {} CHECKPOINT' uses godwit if dockerd was started with "
                    "godwit's directory first in PATH",
                    docker));
  }
}

std::string ContainerFlags::root() const {
  return runtime_root.empty() ? runtimes::kRuncRoot : runtime_root;
}

void set_options(const runtimes::Container& container, DumpOptions& options) {
  options.pid = container.pid;
  options.mounts.external.insert(container.external_mounts.begin(), container.external_mounts.end());
  for (const runtimes::JoinedNamespace& space : container.joined) {
    options.external.push_back({space.kind, std::to_string(space.inode), space.name});
  }
  // The runtime furnishes networks, and hands over pipes and terminals.
  options.empty_network = true;
  options.external_pipes = true;
  options.orphan_terminals = true;
}

std::string container_text(const runtimes::Container& container) {
  std::set<std::string> cgroups;
  for (const auto& [controller, directory] : container.cgroups) {
    cgroups.insert(directory);
  }
  return fmt::format("{}'s container {}: task {}\n", container.runtime, container.name, container.pid) +
         line("root", container.root) + line("bundle", container.bundle) +
         line("cgroups", joined(cgroups, [](const std::string& one) { return one; })) +
         line("mounts from outside",
              joined(container.external_mounts, [](const auto& mount) { return mount.first; })) +
         line("namespaces joined", joined(container.joined, [](const runtimes::JoinedNamespace& one) {
                return one.kind + " of " + one.path;
              }));
}

std::string container_json(const runtimes::Container& container) {
  const auto space = [](const runtimes::JoinedNamespace& one) {
    return fmt::format("{{\"kind\": {}, \"inode\": {}, \"path\": {}, \"name\": {}}}", json_string(one.kind),
                       one.inode, json_string(one.path), json_string(one.name));
  };
  return fmt::format(
      "{{\"runtime\": {}, \"name\": {}, \"pid\": {}, \"root\": {}, \"bundle\": {}, \"cgroups\": {}, "
      "\"external_mounts\": {}, \"joined_namespaces\": [{}]}}",
      json_string(container.runtime), json_string(container.name), container.pid, json_string(container.root),
      json_string(container.bundle), json_object(container.cgroups), json_object(container.external_mounts),
      joined(container.joined, space));
}

}  // namespace godwit::cli
