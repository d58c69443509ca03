#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <vector>

#include "cli/command.h"
#include "cli/log_sink.h"
#include "kernel/error.h"
#include "program/output.h"
#include "program/startup.h"

namespace godwit::cli {

namespace {

constexpr std::array kCommands{
    Command{"check", "Show what this kernel and these privileges allow", run_check},
    Command{"dump", "Write a process tree to a checkpoint", run_dump},
    Command{"restore", "Bring a process tree back from a checkpoint", run_restore},
    Command{"inspect", "Show what is in a checkpoint", run_inspect},
    Command{"verify", "Check every checksum and reference of a checkpoint", run_verify},
};

std::string help() {
  std::string text =
      "Usage: godwit COMMAND [OPTIONS]\n\n"
      "Freezes a process tree, writes its whole state to a checkpoint, and brings it back later.\n\n"
      "Commands:\n";
  for (const Command& command : kCommands) {
    text += fmt::format("  {:<10}{}\n", command.name, command.summary);
  }
  return text +
         "\n'godwit COMMAND --help' explains a command, with examples. 'godwit --version' prints the "
         "version.\n\n"
         "Examples:\n"
         "  godwit dump -t 4711 -D /var/tmp/redis       freeze task 4711 and its children, save them, end "
         "them\n"
         "  godwit restore -D /var/tmp/redis --detach   bring them back, with the same pids\n"
         "  godwit inspect /var/tmp/redis               see what was saved\n\n"
         "Exit codes: 0 done, 1 failed and everything was left as it was, 2 wrong usage.\n";
}

int run(const Command& command, Arguments arguments) {
  try {
    return command.run(arguments);
  } catch (const UsageError& e) {
    print_failure(command.name, fmt::format("{}; see 'godwit {} --help'", e.what(), command.name));
    return kWrongUsage;
  } catch (const std::bad_alloc&) {
    print_failure(command.name, "out of memory");
  } catch (const std::exception& e) {
    print_failure(command.name, e.what());
  }
  return kFailed;
}

/// Options in front of the command (-v, --hide-features=…) are as good as behind it.
std::vector<char*> command_first(Arguments arguments) {
  std::vector<char*> ordered(arguments.begin(), arguments.end());
  const auto command =
      std::find_if(ordered.begin(), ordered.end(), [](const char* text) { return text[0] != '-'; });
  if (command != ordered.end()) {
    std::rotate(ordered.begin(), command, command + 1);
  }
  return ordered;
}

int run(Arguments arguments) {
  if (arguments.empty()) {
    print_err(help());
    return kWrongUsage;
  }
  const std::vector<char*> ordered = command_first(arguments);
  const std::string_view name = ordered.front();
  const auto* const command =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& c) { return c.name == name; });
  if (command != kCommands.end()) {
    return run(*command, Arguments(ordered).subspan(1));
  }
  if (name == "--help" || name == "-h" || name == "help") {
    print_out(help());
    return kDone;
  }
  if (name == "--version") {
    print_out("godwit " GODWIT_VERSION "\n");
    return kDone;
  }
  print_err(fmt::format("godwit: there is no command '{}'; see 'godwit --help'\n", name));
  return kWrongUsage;
}

}  // namespace

}  // namespace godwit::cli

int main(int argc, char** argv) {
  godwit::fill_standard_descriptors();
  int code = godwit::cli::kFailed;
  try {
    code = godwit::cli::run({argv + std::min(argc, 1), argv + argc});
  } catch (const std::exception& e) {
    godwit::print_err(fmt::format("godwit: {}\n", e.what()));
  }
  godwit::leave(code);
}
