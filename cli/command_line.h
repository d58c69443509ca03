#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"

namespace godwit::cli {

struct CommandText {
  const char* name;
  const char* synopsis;     // what stands after the name
  const char* description;  // paragraphs
  const char* examples;     // lines, indented by two
};

/// The options of one subcommand: its own, and those that all have (--help, -v, --log-format, and
/// --hide-features, which help doesn't mention). What an option is bound to is filled by parse().
/// CLI11 does the work, behind this door: each file that included it would have a copy of its global
/// objects, made anew whenever the program starts.
class CommandLine {
 public:
  explicit CommandLine(const CommandText& text);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  ~CommandLine();

  void flag(const char* name, bool& value, const char* help);
  /// A flag that can't stand together with an earlier one.
  void flag_instead_of(const char* other, const char* name, bool& value, const char* help);
  /// A flag that may say a word, behind an equals sign: "--flag=WORD". By itself it says `word`.
  void flag_with_word(const char* name, const char* word, std::string& value, const char* help);
  /// `metavariable`: what stands for the value in help.
  void option(const char* name, const char* metavariable, std::string& value, const char* help);
  void option(const char* name, const char* metavariable, std::optional<int>& value, const char* help);
  /// One that can't stand together with an earlier one.
  void option_instead_of(const char* other, const char* name, const char* metavariable, std::string& value,
                         const char* help);
  /// May be given any number of times.
  void option(const char* name, const char* metavariable, std::vector<std::string>& values, const char* help);
  void argument(const char* metavariable, std::string& value, const char* help);
  void required_argument(const char* metavariable, std::string& value, const char* help);

  /// Puts log lines and hidden features in force, too. False: help was asked for, and has been printed.
  /// Throws UsageError.
  [[nodiscard]] bool parse(Arguments arguments);
  [[nodiscard]] bool verbose() const { return verbosity_ > 0; }

 private:
  struct Parser;
  void apply_common() const;

  std::unique_ptr<Parser> parser_;
  int verbosity_ = 0;
  std::string log_format_ = "text";
  std::string hide_;
};

}  // namespace godwit::cli
