#include "cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "cli/log_sink.h"
#include "kernel/error.h"
#include "kernel/features.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(const CommandText& text) : text_(text) {
    column_width(24);
    label("Positionals", "Arguments");
  }

  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode mode) const override {
    return fmt::format(
        "Usage: godwit {} {}\n\n{}{}{}Examples:\n{}\n\n"
        "Exit codes: 0 done, 1 failed and everything was left as it was, 2 wrong usage.\n",
        text_.name, text_.synopsis, text_.description, make_positionals(app), make_groups(app, mode),
        text_.examples);
  }
  /// What the option takes, without CLI11's own remarks (REQUIRED, Excludes: …): the synopsis says that.
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 || option->get_positional() ? "" : " " + option->get_type_name();
  }

 private:
  CommandText text_;
};

}  // namespace

struct CommandLine::Parser {
  CLI::App app;
};

CommandLine::CommandLine(const CommandText& text) : parser_(std::make_unique<Parser>()) {
  CLI::App& app = parser_->app;
  app.name(text.name);
  app.formatter(std::make_shared<HelpFormatter>(text));
  app.set_help_flag("-h,--help", "Print this and exit");
  app.add_flag("-v", verbosity_, "Say what is being done; -vv: every step");
  option("--log-format", "FORMAT", log_format_,
         "How log and error lines are written to stderr: text or json");
  app.add_option("--hide-features", hide_, "Kernel features to be treated as absent")->group("");
}

CommandLine::~CommandLine() = default;

void CommandLine::flag(const char* name, bool& value, const char* help) {
  parser_->app.add_flag(name, value, help);
}

void CommandLine::flag_instead_of(const char* other, const char* name, bool& value, const char* help) {
  parser_->app.add_flag(name, value, help)->excludes(parser_->app.get_option(other));
}

void CommandLine::flag_with_word(const char* name, const char* word, std::string& value, const char* help) {
  parser_->app.add_flag(fmt::format("{}{{{}}}", name, word), value, help);
}

void CommandLine::option(const char* name, const char* metavariable, std::string& value, const char* help) {
  parser_->app.add_option(name, value, help)->type_name(metavariable);
}

void CommandLine::option(const char* name, const char* metavariable, std::optional<int>& value,
                         const char* help) {
  parser_->app.add_option(name, value, help)->type_name(metavariable);
}

void CommandLine::option_instead_of(const char* other, const char* name, const char* metavariable,
                                    std::string& value, const char* help) {
  parser_->app.add_option(name, value, help)
      ->type_name(metavariable)
      ->excludes(parser_->app.get_option(other));
}

void CommandLine::option(const char* name, const char* metavariable, std::vector<std::string>& values,
                         const char* help) {
  parser_->app.add_option(name, values, help)
      ->type_name(metavariable)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void CommandLine::argument(const char* metavariable, std::string& value, const char* help) {
  parser_->app.add_option(metavariable, value, help);
}

void CommandLine::required_argument(const char* metavariable, std::string& value, const char* help) {
  parser_->app.add_option(metavariable, value, help)->required();
}

bool CommandLine::parse(Arguments arguments) {
  // CLI11 would ask for required options first, and say by an exception that help is wanted.
  const auto asks_for_help = [](std::string_view text) { return text == "-h" || text == "--help"; };
  if (std::any_of(arguments.begin(), arguments.end(), asks_for_help)) {
    print_out(parser_->app.help());
    return false;
  }
  // CLI11 takes them from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    parser_->app.parse(std::move(reversed));
  } catch (const CLI::ConversionError& e) {
    // "Could not convert: -t = one"
    const std::string_view text = e.what();
    throw UsageError(fmt::format("not a number: {}", text.substr(text.find(": ") + 2)));
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  apply_common();
  return true;
}

void CommandLine::apply_common() const {
  if (log_format_ != "text" && log_format_ != "json") {
    throw UsageError(fmt::format("--log-format takes text or json, not '{}'", log_format_));
  }
  install_log_sink(log_format_ == "json" ? LogFormat::Json : LogFormat::Text, verbosity_);
  try {
    hide_features(hide_);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

}  // namespace godwit::cli
