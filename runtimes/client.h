#pragma once

#include <string>
#include <vector>

/// The command-line clients of those who look after containers that they have a runtime make.
namespace godwit::runtimes {

enum class Manager { Podman, Docker };

/// What the container of a manager's is taken by.
class Client {
 public:
  /// `options`: the manager's global ones, such as "--cgroup-manager=cgroupfs", one a word. Throws Error for
  /// what can't be one: the client would take it for a subcommand.
  Client(Manager manager, std::vector<std::string> options);

  [[nodiscard]] Manager manager() const { return manager_; }
  /// "Podman"
  [[nodiscard]] const char* name() const { return manager_ == Manager::Podman ? "Podman" : "Docker"; }
  /// "podman"
  [[nodiscard]] const char* program() const { return manager_ == Manager::Podman ? "podman" : "docker"; }

  /// Runs a subcommand with our `criu` first in PATH, and returns what it prints. Throws Error if it fails,
  /// with what it says, and what our `criu` says in its log.
  [[nodiscard]] std::string run(const std::vector<std::string>& words) const;

 private:
  Manager manager_;
  std::vector<std::string> options_;
};

/// The reason in what a client prints when it fails: from where it says "Error", else its last line. It
/// becomes one line, shortened where it is very long.
[[nodiscard]] std::string failure_in(const std::string& errors);
/// The log of `criu` that such a line names; empty: none.
[[nodiscard]] std::string log_named_in(const std::string& line);

}  // namespace godwit::runtimes
