#include "cli/log_sink.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "cli/progress.h"
#include "kernel/log.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

LogFormat chosen_format = LogFormat::Text;

const char* pattern() {
  if (chosen_format == LogFormat::Json) {
    return R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l","message":%v})";
  }
  return ::isatty(STDERR_FILENO) != 0 ? "%^%l%$ %v" : "godwit: %l: %v";
}

/// Made when the first line is written: most runs write none.
spdlog::logger& logger() {
  static std::optional<spdlog::logger> made;
  if (!made) {
    auto sink = std::make_shared<spdlog::sinks::ansicolor_stderr_sink_st>();
    sink->set_pattern(pattern());
    made.emplace("godwit", std::move(sink));
    made->set_level(spdlog::level::trace);
  }
  return *made;
}

spdlog::level::level_enum spdlog_level(log::Level level) {
  switch (level) {
    case log::Level::Debug:
      return spdlog::level::debug;
    case log::Level::Info:
      return spdlog::level::info;
    case log::Level::Warning:
      return spdlog::level::warn;
    case log::Level::Error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

void write_line(log::Level level, std::string_view line) {
  ProgressLine::clear();
  if (chosen_format == LogFormat::Json) {
    logger().log(spdlog_level(level), json_string(line));
  } else {
    logger().log(spdlog_level(level), line);
  }
}

}  // namespace

void install_log_sink(LogFormat format, int verbosity) {
  chosen_format = format;
  log::set_sink(write_line, verbosity >= 2   ? log::Level::Debug
                            : verbosity == 1 ? log::Level::Info
                                             : log::Level::Warning);
}

void print_failure(std::string_view command, std::string_view message) {
  ProgressLine::clear();
  if (chosen_format == LogFormat::Json) {
    logger().log(spdlog::level::err, json_string(fmt::format("{}: {}", command, message)));
  } else {
    print_err(fmt::format("godwit: {}: {}\n", command, message));
  }
}

}  // namespace godwit::cli
