#pragma once

#include <string>
#include <vector>

#include "cli/command_line.h"
#include "dump/dump.h"
#include "runtimes/client.h"
#include "runtimes/container.h"

/// Containers that are named as their runtime names them.
namespace godwit::cli {

struct ContainerFlags {
  std::string runc;
  std::string podman;
  std::string docker;
  std::string runtime_root;
  std::vector<std::string> runtime_options;

  /// Throws UsageError if there are several runtimes, or options without theirs.
  void check() const;
  [[nodiscard]] bool given() const { return !runc.empty() || managed(); }
  /// One that is dumped and restored through its manager's client.
  [[nodiscard]] bool managed() const { return !podman.empty() || !docker.empty(); }
  /// Of the container; empty: none.
  [[nodiscard]] std::string name() const;
  /// "--podman"
  [[nodiscard]] const char* option() const;
  /// runc's directory.
  [[nodiscard]] std::string root() const;
  /// Throws UsageError for options that can't be.
  [[nodiscard]] runtimes::Client client() const;
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
