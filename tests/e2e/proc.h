#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace godwit::e2e {

/// A small file's content; nothing if it can't be read (the task has gone, or doesn't let us).
[[nodiscard]] std::optional<std::string> try_read(const std::string& path);
/// A link's target; nothing if it can't be read.
[[nodiscard]] std::optional<std::string> try_read_link(const std::string& path);
/// Names in a directory that are numbers, ascending.
[[nodiscard]] std::vector<int> numbers_in(const std::string& directory);
[[nodiscard]] std::vector<std::string> lines_of(std::string_view text);
/// Words between blanks and tabs.
[[nodiscard]] std::vector<std::string> words_of(std::string_view text);
/// "Uid:\t0\t0" to ("Uid", "0\t0"), for each line with a colon.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> fields_of(std::string_view text);

/// The fields of /proc/PID/stat by their names in proc_pid_stat(5).
[[nodiscard]] std::vector<std::pair<std::string, std::string>> parse_stat(std::string_view text);
/// The state letter in stat; nothing if there is no such task.
[[nodiscard]] std::optional<char> state_of(pid_t pid);

/// One mapping as smaps shows it.
struct SmapsEntry {
  unsigned long start = 0;
  unsigned long end = 0;
  std::string permissions;
  unsigned long offset = 0;
  std::string device;
  unsigned long inode = 0;
  std::string name;
  std::vector<std::string> flags;                                // VmFlags
  std::vector<std::pair<std::string, unsigned long>> kilobytes;  // "Pss", ...
};

[[nodiscard]] std::vector<SmapsEntry> parse_smaps(std::string_view text);

}  // namespace godwit::e2e
