#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "compat/command_line.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::compat {

namespace {

constexpr const char* kSystemConfig = "/etc/criu/default.conf";
constexpr const char* kUserConfig = "/.criu/default.conf";

/// Words of a line; quotes keep blanks, a backslash in them keeps the next character; # begins a comment.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  bool quoted = false;
  bool in_word = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '\\' && i + 1 < line.size()) {
      words.back() += line[++i];
    } else if (c == '"') {
      if (!in_word) {
        words.emplace_back();
      }
      in_word = true;
      quoted = !quoted;
    } else if (!quoted && c == '#') {
      break;
    } else if (!quoted && (c == ' ' || c == '\t' || c == '\r')) {
      in_word = false;
    } else {
      if (!in_word) {
        words.emplace_back();
      }
      in_word = true;
      words.back() += c;
    }
  }
  return words;
}

}  // namespace

void read_config_file(const std::string& path, Asked& asked) {
  const std::string content = read_file(path);
  std::vector<std::string> arguments;
  for (std::string_view rest = content; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::vector<std::string> words = words_of(line);
    if (words.empty()) {
      continue;
    }
    if (words.size() > 2) {
      throw error("{}: option {} has more than one value; quotes keep blanks", path, words.front());
    }
    std::string argument = "--" + words.front();
    if (words.size() > 1) {
      argument += "=" + words[1];
    }
    arguments.push_back(std::move(argument));
  }
  try {
    if (!read_command_line(std::move(arguments), asked).empty()) {
      throw UsageError("a file of options can't hold a command");
    }
  } catch (const UsageError& e) {
    throw error("{}: {}", path, e.what());
  }
}

void read_default_config(Asked& asked) {
  std::vector<std::string> paths{kSystemConfig};
  if (const char* home = std::getenv("HOME"); home != nullptr) {
    paths.push_back(std::string(home) + kUserConfig);
  }
  for (const std::string& path : paths) {
    if (::access(path.c_str(), F_OK) == 0) {
      read_config_file(path, asked);
    }
  }
}

}  // namespace godwit::compat
