#pragma once

#include <string>

#include "cli/command_line.h"
#include "dump/dump.h"
#include "runtimes/container.h"

/// Containers that are named as their runtime names them.
namespace godwit::cli {

struct ContainerFlags {
  std::string runc;
  std::string podman;
  std::string docker;
  std::string runtime_root;

  /// Throws UsageError if --runtime-root stands without a runtime, or there are several, Error for a runtime
  /// whose containers can't be taken by name yet.
  void check() const;
  [[nodiscard]] bool given() const { return !runc.empty() || !podman.empty() || !docker.empty(); }
  [[nodiscard]] std::string root() const;
};

/// `what`: what is done with the container, for help.
void add_container_options(CommandLine& line, ContainerFlags& flags, const char* what);

/// The options by which a runtime would have the container dumped.
void set_options(const runtimes::Container& container, DumpOptions& options);

/// What was found of a container, for people: several lines.
[[nodiscard]] std::string container_text(const runtimes::Container& container);
/// The same as a JSON object.
[[nodiscard]] std::string container_json(const runtimes::Container& container);

}  // namespace godwit::cli
