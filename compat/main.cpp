#include <unistd.h>

#include <charconv>
#include <csignal>
#include <exception>
#include <optional>

#include "compat/become.h"
#include "compat/command_line.h"
#include "compat/log_file.h"
#include "compat/operations.h"
#include "compat/peer_features.h"
#include "compat/rpc_server.h"
#include "compat/service.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/log.h"
#include "program/output.h"
#include "program/root_task.h"
#include "program/startup.h"

namespace godwit::compat {

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;

constexpr const char* kUsage =
    "Usage: criu dump -t PID [OPTIONS]\n"
    "       criu pre-dump -t PID [OPTIONS]\n"
    "       criu restore [OPTIONS]\n"
    "       criu check [--feature NAME]\n"
    "       criu service [OPTIONS]\n"
    "       criu swrk FD\n\n"
    "The interface that container runtimes speak, over godwit. 'godwit --help' is for people.\n\n"
    "Options (flags have a form with --no- in front):\n";

int parse_descriptor(const std::string& word) {
  int fd = -1;
  const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), fd);
  if (failed != std::errc() || *end != '\0' || fd < 0) {
    throw UsageError(fmt::format("'{}' isn't a descriptor", word));
  }
  return fd;
}

Notifier notifier_of(const Settings& settings, const Workplace& workplace) {
  return {settings.action_scripts, workplace.images_path, nullptr};
}

int restore_command(const Settings& settings, const Workplace& workplace) {
  const pid_t root = run_restore(settings, workplace, notifier_of(settings, workplace));
  if (!settings.exec_cmd.empty()) {
    become(settings.exec_cmd);
  }
  if (!settings.detach && !settings.sibling) {
    log::info("task {} ended with exit code {}", root, wait_and_forward_signals(root));
  }
  return kDone;
}

int check_command(const Settings& settings) {
  if (!settings.features.empty()) {
    return has_peer_features(settings.features) ? kDone : kFailed;
  }
  check_machine_features();
  print_out("Looks good.\n");
  return kDone;
}

int tree_command(const std::string& command, Asked& asked) {
  const Workplace workplace(asked.settings, "");
  try {
    asked.judge();
    if (command == "restore") {
      return restore_command(asked.settings, workplace);
    }
    if (command == "dump") {
      run_dump(asked.settings, workplace, notifier_of(asked.settings, workplace));
      return kDone;
    }
    if (command == "pre-dump") {
      run_pre_dump(asked.settings, workplace, notifier_of(asked.settings, workplace));
      return kDone;
    }
    throw refusal("the command {}", command);
  } catch (const std::exception& e) {
    log_failure(e.what());
    return kFailed;
  }
}

int run(const std::vector<std::string>& words, Asked& asked) {
  const Settings& settings = asked.settings;
  const std::string command = words.empty() ? "" : words.front();
  if (settings.version) {
    print_out(fmt::format("Version: {}.{}\n(godwit {})\n", PeerVersion::kMajor, PeerVersion::kMinor,
                          GODWIT_VERSION));
    return kDone;
  }
  if (settings.help) {
    print_out(kUsage + option_help());
    return kDone;
  }
  const size_t arguments = command == "swrk" || command == "cpuinfo" ? 2 : 1;
  if (words.size() != arguments) {
    throw UsageError(words.size() < arguments ? "no command, or not all of it, was given"
                                              : fmt::format("what is '{}'?", words[arguments]));
  }
  if (command == "swrk") {
    return serve_client(Fd(parse_descriptor(words[1])), StartedBy::Client);
  }
  if (command == "check" || command == "service") {
    open_log(settings.log_file, settings.log_level);
    asked.judge();
    return command == "check" ? check_command(settings) : run_service(settings);
  }
  for (const std::string_view known :
       {"dump", "restore", "pre-dump", "page-server", "lazy-pages", "dedup", "cpuinfo"}) {
    if (command == known) {
      return tree_command(command, asked);
    }
  }
  throw UsageError(fmt::format("there is no command '{}'", command));
}

int run(std::vector<std::string> arguments) {
  // Where SIGCHLD is ignored, children vanish without having been waited for.
  ::signal(SIGCHLD, SIG_DFL);
  note_termination_signals();
  Asked asked;
  Asked first;  // only to learn whether, and where, there are files of options: what is in them counts less
  const std::vector<std::string> words = read_command_line(arguments, first);
  if (!first.settings.no_default_config) {
    read_default_config(asked);
  }
  if (!first.settings.config_file.empty()) {
    read_config_file(first.settings.config_file, asked);
  }
  asked.settings.log_level = first.settings.log_level != 0 ? 0 : asked.settings.log_level;
  static_cast<void>(read_command_line(std::move(arguments), asked));
  asked.settings.exec_cmd = first.settings.exec_cmd;
  return run(words, asked);
}

}  // namespace

}  // namespace godwit::compat

int main(int argc, char** argv) {
  godwit::fill_standard_descriptors();
  int code = 1;
  try {
    code = godwit::compat::run({argv + std::min(argc, 1), argv + argc});
  } catch (const godwit::compat::UsageError& e) {
    godwit::print_err(fmt::format("criu: {}; see 'criu --help'\n", e.what()));
  } catch (const std::exception& e) {
    godwit::print_err(fmt::format("Error (godwit): {}\n", e.what()));
  }
  godwit::leave(code);
}
