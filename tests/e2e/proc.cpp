#include "tests/e2e/proc.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <memory>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::e2e {

std::optional<std::string> try_read(const std::string& path) {
  try {
    return read_file(path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<std::string> try_read_link(const std::string& path) {
  try {
    return read_link(path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<int> numbers_in(const std::string& directory) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), closedir);
  while (dir != nullptr) {
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) {
      break;
    }
    const std::string_view name = entry->d_name;
    int number = 0;
    if (std::from_chars(name.begin(), name.end(), number).ptr == name.end()) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\n", at)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(" \t\n", at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

std::vector<std::pair<std::string, std::string>> fields_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const std::string& line : lines_of(text)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) {
      continue;
    }
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    fields.emplace_back(line.substr(0, colon), value == std::string::npos ? "" : line.substr(value));
  }
  return fields;
}

std::vector<std::pair<std::string, std::string>> parse_stat(std::string_view text) {
  static constexpr const char* kNames[] = {
      "state",       "ppid",        "pgrp",        "session",     "tty_nr",
      "tpgid",       "flags",       "minflt",      "cminflt",     "majflt",
      "cmajflt",     "utime",       "stime",       "cutime",      "cstime",
      "priority",    "nice",        "num_threads", "itrealvalue", "starttime",
      "vsize",       "rss",         "rsslim",      "startcode",   "endcode",
      "startstack",  "kstkesp",     "kstkeip",     "signal",      "blocked",
      "sigignore",   "sigcatch",    "wchan",       "nswap",       "cnswap",
      "exit_signal", "processor",   "rt_priority", "policy",      "delayacct_blkio_ticks",
      "guest_time",  "cguest_time", "start_data",  "end_data",    "start_brk",
      "arg_start",   "arg_end",     "env_start",   "env_end",     "exit_code"};
  std::vector<std::pair<std::string, std::string>> fields;
  // The name in parentheses may hold anything, parentheses too.
  const size_t open = text.find('(');
  const size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos) {
    throw error("cannot parse stat line {}", text);
  }
  fields.emplace_back("pid", words_of(text.substr(0, open)).at(0));
  fields.emplace_back("comm", text.substr(open + 1, close - open - 1));
  const std::vector<std::string> values = words_of(text.substr(close + 1));
  for (size_t i = 0; i < values.size(); ++i) {
    fields.emplace_back(i < std::size(kNames) ? kNames[i] : "field" + std::to_string(i + 3), values[i]);
  }
  return fields;
}

std::optional<char> state_of(pid_t pid) {
  const auto text = try_read("/proc/" + std::to_string(pid) + "/stat");
  if (!text || text->rfind(')') == std::string::npos || text->rfind(')') + 2 >= text->size()) {
    return std::nullopt;
  }
  return (*text)[text->rfind(')') + 2];
}

namespace {

bool is_mapping_header(std::string_view line) {
  const size_t end = line.find_first_of(" -");
  return end != std::string_view::npos && line[end] == '-';
}

SmapsEntry parse_header(const std::string& line) {
  SmapsEntry entry;
  const std::vector<std::string> words = words_of(line);
  char* end = nullptr;
  entry.start = strtoul(line.c_str(), &end, 16);
  entry.end = strtoul(end + 1, nullptr, 16);
  entry.permissions = words.at(1);
  entry.offset = strtoul(words.at(2).c_str(), nullptr, 16);
  entry.device = words.at(3);
  entry.inode = strtoul(words.at(4).c_str(), nullptr, 10);
  if (words.size() > 5) {
    entry.name = line.substr(line.find(words[5], line.find(words[4], line.find(words[3])) + words[4].size()));
  }
  return entry;
}

}  // namespace

std::vector<SmapsEntry> parse_smaps(std::string_view text) {
  std::vector<SmapsEntry> entries;
  for (const std::string& line : lines_of(text)) {
    if (is_mapping_header(line)) {
      entries.push_back(parse_header(line));
      continue;
    }
    const size_t colon = line.find(':');
    if (entries.empty() || colon == std::string::npos) {
      continue;
    }
    const std::string name = line.substr(0, colon);
    if (name == "VmFlags") {
      entries.back().flags = words_of(line.substr(colon + 1));
    } else {
      entries.back().kilobytes.emplace_back(name, strtoul(line.c_str() + colon + 1, nullptr, 10));
    }
  }
  return entries;
}

}  // namespace godwit::e2e
