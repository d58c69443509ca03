#include "cli/command_line.h"

#include <algorithm>
#include <vector>

#include "cli/log_sink.h"
#include "cli/output.h"
#include "kernel/error.h"
#include "kernel/features.h"

namespace godwit::cli {

namespace {

class HelpFormatter : public CLI::Formatter {
 public:
  explicit HelpFormatter(const CommandText& text) : text_(text) { column_width(26); }

  std::string make_usage(const CLI::App*, std::string) const override {
    return fmt::format("Usage: godwit {} {}\n", text_.name, text_.synopsis);
  }
  std::string make_description(const CLI::App*) const override {
    return fmt::format("{}\n", text_.description);
  }
  std::string make_footer(const CLI::App*) const override {
    return fmt::format(
        "\nExamples:\n{}\n\nExit codes: 0 done, 1 failed and everything was left as it was, 2 wrong usage.\n",
        text_.examples);
  }
  /// The name and what it takes, without CLI11's own remarks (REQUIRED, Excludes: …): the synopsis says that.
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode mode) const override {
    return make_usage(app, {}) + "\n" + make_description(app) + make_positionals(app) +
           make_groups(app, mode) + make_footer(app);
  }

 private:
  CommandText text_;
};

}  // namespace

CommandLine::CommandLine(const CommandText& text) : app_("", text.name) {
  app_.formatter(std::make_shared<HelpFormatter>(text));
  app_.set_help_flag("-h,--help", "Print this and exit");
  app_.add_flag("-v", verbosity_, "Say what is being done; -vv: every step");
  app_.add_option("--log-format", log_format_, "How log and error lines are written to stderr: text or json")
      ->type_name("FORMAT");
  app_.add_option("--hide-features", hide_, "Kernel features to be treated as absent")->group("");
}

bool CommandLine::parse(Arguments arguments) {
  // CLI11 takes them from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app_.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    print_out(app_.help());
    return false;
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  apply_common();
  return true;
}

void CommandLine::apply_common() const {
  if (log_format_ != "text" && log_format_ != "json") {
    throw UsageError(fmt::format("--log-format is text or json, not '{}'", log_format_));
  }
  install_log_sink(log_format_ == "json" ? LogFormat::Json : LogFormat::Text, verbosity_);
  try {
    hide_features(hide_);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

}  // namespace godwit::cli
