#include "cli/container.h"

#include <algorithm>
#include <set>

#include "cli/record_text.h"
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
  return value.empty() ? "" : fmt::format("  {:<23}{}\n", what, printable(value));
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
  line.option("--podman", "NAME", flags.podman, "The same with one of Podman's");
  line.option("--docker", "NAME", flags.docker, "The same with one of Docker's");
  line.option("--runtime-root", "DIR", flags.runtime_root,
              "Where runc keeps its state (by default /run/runc), or Podman its storage, as their own option "
              "--root says");
  line.option("--runtime-option", "OPTION", flags.runtime_options,
              "A global option of podman or docker, with its value in one word: "
              "--runtime-option=--cgroup-manager=cgroupfs. May be repeated");
}

void ContainerFlags::check() const {
  if ((runc.empty() ? 0 : 1) + (podman.empty() ? 0 : 1) + (docker.empty() ? 0 : 1) > 1) {
    throw UsageError("a container has one runtime: --runc, --podman and --docker exclude each other");
  }
  if (!runtime_root.empty() && runc.empty() && podman.empty()) {
    throw UsageError("--runtime-root goes with --runc and --podman");
  }
  if (!runtime_options.empty() && !managed()) {
    throw UsageError("--runtime-option goes with --podman and --docker");
  }
  if (managed()) {
    static_cast<void>(client());
  }
}

std::string ContainerFlags::name() const {
  return runc + podman + docker;
}

const char* ContainerFlags::option() const {
  return !podman.empty() ? "--podman" : !docker.empty() ? "--docker" : "--runc";
}

std::string ContainerFlags::root() const {
  return runtime_root.empty() ? runtimes::kRuncRoot : runtime_root;
}

runtimes::Client ContainerFlags::client() const {
  std::vector<std::string> options = runtime_options;
  if (!runtime_root.empty()) {
    options.push_back("--root=" + runtime_root);
  }
  try {
    return {podman.empty() ? runtimes::Manager::Docker : runtimes::Manager::Podman, std::move(options)};
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
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
  const char* const runtime = container.runtime == "podman"   ? "Podman"
                              : container.runtime == "docker" ? "Docker"
                                                              : "runc";
  return fmt::format("{}'s container {}: task {}\n", runtime, container.name, container.pid) +
         line("id", container.id) + line("root", container.root) + line("bundle", container.bundle) +
         line("cgroups", joined(cgroups, [](const std::string& one) { return one; })) +
         line("mounts from outside",
              joined(container.external_mounts, [](const auto& mount) { return mount.first; })) +
         line("network", container.network) +
         line("namespaces joined", joined(container.joined, [](const runtimes::JoinedNamespace& one) {
                return one.kind + " of " + one.path;
              }));
}

std::string container_json(const runtimes::Container& container) {
  const auto space = [](const runtimes::JoinedNamespace& one) {
    return fmt::format("{{\"kind\": {}, \"inode\": {}, \"path\": {}, \"name\": {}}}", json_string(one.kind),
                       one.inode, json_string(one.path), json_string(one.name));
  };
  const auto optional = [](const char* key, const std::string& text) {
    return text.empty() ? "" : fmt::format("\"{}\": {}, ", key, json_string(text));
  };
  return fmt::format(
      "{{\"runtime\": {}, \"name\": {}, {}\"pid\": {}, \"root\": {}, \"bundle\": {}, {}\"cgroups\": {}, "
      "\"external_mounts\": {}, \"joined_namespaces\": [{}]}}",
      json_string(container.runtime), json_string(container.name), optional("id", container.id),
      container.pid, json_string(container.root), json_string(container.bundle),
      optional("network", container.network), json_object(container.cgroups),
      json_object(container.external_mounts), joined(container.joined, space));
}

}  // namespace godwit::cli
