#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

#include "cli/command.h"

namespace godwit::cli {

struct CommandText {
  const char* name;
  const char* synopsis;     // what stands after the name
  const char* description;  // paragraphs
  const char* examples;     // lines, indented by two
};

/// The options of one subcommand: its own, which it adds to `options()`, and those that all have
/// (--help, -v, --log-format, and --hide-features, which help doesn't mention).
class CommandLine {
 public:
  explicit CommandLine(const CommandText& text);

  CLI::App& options() { return app_; }
  /// Fills what the options are bound to, and puts log lines and hidden features in force.
  /// False: help was asked for, and has been printed. Throws UsageError.
  [[nodiscard]] bool parse(Arguments arguments);

 private:
  void apply_common() const;

  CLI::App app_;
  int verbosity_ = 0;
  std::string log_format_ = "text";
  std::string hide_;
};

}  // namespace godwit::cli
