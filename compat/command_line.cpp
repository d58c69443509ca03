#include "compat/command_line.h"

#include <getopt.h>

#include <deque>

#include "kernel/error.h"

namespace godwit::compat {

namespace {

constexpr int kFirstRow = 2000;      // + index in the table
constexpr int kFirstNegated = 3000;  // the same with "no-" in front

int argument_of(const Option& option) {
  switch (option.takes) {
    case Takes::Flag:
      return no_argument;
    case Takes::Value:
      return required_argument;
    case Takes::OptionalValue:
      return optional_argument;
  }
  return no_argument;
}

/// What getopt_long(3) wants to know, made from the table.
class Options {
 public:
  Options() {
    for (size_t i = 0; i < option_table().size(); ++i) {
      const Option& option = option_table()[i];
      if (option.name.empty()) {
        continue;
      }
      const int row = static_cast<int>(i);
      add(std::string(option.name), argument_of(option), kFirstRow + row);
      if (option.takes == Takes::Flag && !option.name.starts_with("no-")) {
        add("no-" + std::string(option.name), no_argument, kFirstNegated + row);
      }
      if (option.letter != 0 && letters_.find(option.letter) == std::string::npos) {
        letters_ += option.letter;
        letters_.append(static_cast<size_t>(argument_of(option)), ':');
      }
    }
    long_.push_back({});
  }

  [[nodiscard]] const char* letters() const { return letters_.c_str(); }
  [[nodiscard]] const option* long_options() const { return long_.data(); }

 private:
  void add(std::string name, int argument, int value) {
    names_.push_back(std::move(name));
    long_.push_back({names_.back().c_str(), argument, nullptr, value});
  }

  std::deque<std::string> names_;  // stay where they are
  std::vector<option> long_;
  std::string letters_ = ":";
};

const Option* by_letter(int letter) {
  for (const Option& option : option_table()) {
    if (option.letter == letter) {
      return &option;
    }
  }
  return nullptr;
}

void take(const Option& option, const char* value, bool negated, Asked& asked) {
  if (option.name == "exec-cmd") {
    return;  // the command stands behind all options
  }
  if (option.takes == Takes::Flag) {
    asked.set(option, negated ? "0" : "1");
  } else {
    asked.set(option, value == nullptr ? "" : value);
  }
}

}  // namespace

std::vector<std::string> read_command_line(std::vector<std::string> arguments, Asked& asked) {
  arguments.insert(arguments.begin(), "criu");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) {
    pointers.push_back(argument.data());
  }
  const int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  const Options options;
  bool exec_cmd = false;
  ::optind = 0;  // begin anew (getopt(3), NOTES)
  ::opterr = 0;
  int found = 0;
  while ((found = ::getopt_long(count, pointers.data(), options.letters(), options.long_options(),
                                nullptr)) != -1) {
    if (found == '?' || found == ':') {
      const std::string_view word = pointers[static_cast<size_t>(::optind - 1)];
      throw UsageError(found == ':'            ? fmt::format("option {} wants a value", word)
                       : ::optopt >= kFirstRow ? fmt::format("option {} takes no value", word)
                                               : fmt::format("there is no option {}", word));
    }
    const bool negated = found >= kFirstNegated;
    const Option& option =
        found < kFirstRow
            ? *by_letter(found)
            : option_table()[static_cast<size_t>(found - (negated ? kFirstNegated : kFirstRow))];
    exec_cmd = exec_cmd || option.name == "exec-cmd";
    take(option, ::optarg, negated, asked);
  }
  std::vector<std::string> words;
  for (int i = ::optind; i < count; ++i) {
    words.emplace_back(pointers[static_cast<size_t>(i)]);
  }
  if (exec_cmd) {
    if (words.size() < 2) {
      throw UsageError("option --exec-cmd wants a command behind --");
    }
    asked.settings.exec_cmd.assign(words.begin() + 1, words.end());
    words.resize(1);
  }
  return words;
}

std::string option_help() {
  std::string text;
  for (const Option& option : option_table()) {
    if (option.name.empty()) {
      continue;
    }
    const std::string name = fmt::format("--{}{}", option.name,
                                         option.takes == Takes::Value           ? " VALUE"
                                         : option.takes == Takes::OptionalValue ? "[=VALUE]"
                                                                                : "");
    const std::string letter = option.letter != 0 ? fmt::format("-{}, ", option.letter) : "";
    const std::string_view effect = option.effect == Effect::NoEffect  ? "no effect: "
                                    : option.effect == Effect::Refused ? "refused: "
                                                                       : "";
    text += fmt::format("  {:>4}{:<34}{}{}\n", letter, name, effect, option.remark);
  }
  return text;
}

}  // namespace godwit::compat
