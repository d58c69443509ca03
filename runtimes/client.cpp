#include "runtimes/client.h"

#include <algorithm>

#include "kernel/error.h"
#include "runtimes/command.h"
#include "runtimes/criu_log.h"

namespace godwit::runtimes {

namespace {

constexpr std::string_view kError = "Error";
constexpr size_t kLongestReason = 1000;  // bytes of a client's words that stand in an error of ours

bool is_control(unsigned char c) {
  return c < 0x20 || c == 0x7f;
}

}  // namespace

Client::Client(Manager manager, std::vector<std::string> options)
    : manager_(manager), options_(std::move(options)) {
  for (const std::string& option : options_) {
    if (!option.starts_with('-') || option == "-" || option == "--") {
      throw Error(fmt::format("'{}' can't be a global option of {}'s", option, program()), 0,
                  "an option and its value are one word, such as --log-level=debug");
    }
  }
}

std::string Client::run(const std::vector<std::string>& words) const {
  std::vector<std::string> command{program()};
  command.insert(command.end(), options_.begin(), options_.end());
  command.insert(command.end(), words.begin(), words.end());
  CommandOutput printed = run_command(std::move(command), directory_of_criu());
  if (printed.code == 0) {
    return std::move(printed.output);
  }
  const std::string reason = failure_in(printed.errors);
  const std::string in_log = failure_in_log(log_named_in(printed.errors));
  throw error("{} {} failed: {}", program(), words.front() + " " + words[1],
              !in_log.empty()   ? in_log
              : !reason.empty() ? reason
                                : fmt::format("it ended with {}", printed.code));
}

std::string failure_in(const std::string& errors) {
  // What stands in front are warnings.
  size_t start = errors.starts_with(kError) ? 0 : errors.find("\n" + std::string(kError));
  if (start == std::string::npos) {
    const size_t end = errors.find_last_not_of(" \n");
    start = end == std::string::npos ? errors.size() : errors.rfind('\n', end);
    start = start == std::string::npos ? 0 : start;
  }
  std::string text = errors.substr(start, kLongestReason);
  std::replace_if(text.begin(), text.end(), is_control, ' ');
  const auto is_blank = [](char c) { return c == ' '; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_blank));
  text.erase(std::find_if_not(text.rbegin(), text.rend(), is_blank).base(), text.end());
  for (const std::string_view prefix : {"Error: ", "Error response from daemon: "}) {
    if (text.starts_with(prefix)) {
      text.erase(0, prefix.size());
    }
  }
  return text;
}

std::string log_named_in(const std::string& line) {
  // "criu failed: type NOTIFY errno 0 path= /run/…/criu-dump.log: unknown", or "log file: …"
  constexpr std::string_view kEnding = ".log";
  for (const std::string_view mark : {"path= ", "log file: "}) {
    const size_t at = line.find(mark);
    if (at == std::string::npos) {
      continue;
    }
    const size_t start = at + mark.size();
    const size_t end = line.find(kEnding, start);
    if (end != std::string::npos && line[start] == '/') {
      return line.substr(start, end + kEnding.size() - start);
    }
  }
  return "";
}

}  // namespace godwit::runtimes
