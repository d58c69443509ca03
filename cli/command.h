#pragma once

#include <span>
#include <stdexcept>
#include <string_view>

namespace godwit::cli {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,      // everything was left as it was
  kWrongUsage = 2,  // nothing was tried
};

/// What stands after the subcommand.
using Arguments = std::span<char* const>;

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(Arguments);
};

/// Wrong usage; `what()` says what is wrong with it.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Each returns the exit code; throws UsageError, or Error for what failed.
int run_check(Arguments arguments);
int run_dump(Arguments arguments);
int run_inspect(Arguments arguments);
int run_restore(Arguments arguments);
int run_verify(Arguments arguments);

}  // namespace godwit::cli
