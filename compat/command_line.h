#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "compat/options.h"

namespace godwit::compat {

/// Wrong usage of the command line.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads options into `asked`, by the table, as getopt_long(3) reads them (abbreviations too). A flag has a
/// form with "no-" in front. `arguments` without the program's name. Returns what is no option: the command
/// and its arguments. Throws UsageError.
std::vector<std::string> read_command_line(std::vector<std::string> arguments, Asked& asked);

/// Reads the options in a file into `asked`: one a line, without the dashes, `NAME [VALUE]`; # begins a
/// comment, quotes keep blanks. Throws Error.
void read_config_file(const std::string& path, Asked& asked);

/// Reads /etc/criu/default.conf and ~/.criu/default.conf, where they are.
void read_default_config(Asked& asked);

/// All options, for --help.
[[nodiscard]] std::string option_help();

}  // namespace godwit::compat
