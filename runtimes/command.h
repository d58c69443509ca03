#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

/// Programs of runtimes that we run, which find our `criu` first.
namespace godwit::runtimes {

/// The directory of the program that we are, in which `criu` is, too. Throws Error if it isn't.
[[nodiscard]] std::string directory_of_criu();

/// Starts a program, found by PATH, with our standard descriptors, and with `first_in_path` in front of the
/// PATH that it gets. Returns its pid, which is a child of ours. Throws Error.
[[nodiscard]] pid_t start_command(std::vector<std::string> command, const std::string& first_in_path);

/// Waits for the end of a child. Returns its exit code, or 128 and the number of the signal that ended it.
/// Throws Error.
[[nodiscard]] int wait_for_command(pid_t child);

struct CommandOutput {
  int code = 0;        // as wait_for_command() returns it
  std::string output;  // at most kLongestOutput bytes; what a program prints beyond that isn't kept
  std::string errors;  // likewise
};
inline constexpr size_t kLongestOutput = size_t{4} << 20;

/// Runs a program to its end, as start_command() starts it, but with nothing to read, its output kept, and in
/// a process group of its own: what a terminal sends to ours doesn't break off what it does. What it leaves
/// running may keep its output open. Throws Error if it can't be executed.
[[nodiscard]] CommandOutput run_command(std::vector<std::string> command, const std::string& first_in_path);

}  // namespace godwit::runtimes
