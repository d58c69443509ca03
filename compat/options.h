#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compat/settings.h"

namespace godwit::compat {

enum class Effect : unsigned char {
  Honoured,
  NoEffect,  // accepted with a warning: the result is the same with and without it
  Refused,   // it would change the result
};

enum class Takes : unsigned char { Flag, Value, OptionalValue };

/// One thing that clients can ask for: a field of rpc.proto's Options, an option of the command line, mostly
/// both.
struct Option {
  std::string_view field;  // empty: command line only
  std::string_view name;   // without dashes; empty: RPC only
  char letter = 0;
  Takes takes = Takes::Flag;
  Effect effect = Effect::Honoured;
  std::string_view remark;  // what it does; why it has no effect; why it is refused
  /// Honoured ones. A flag's value is "1" or "0". Throws Error for a value that isn't supported.
  void (*apply)(Settings& settings, const std::string& value) = nullptr;

  /// For messages: the command line's name, else the field's.
  [[nodiscard]] std::string_view title() const { return name.empty() ? field : name; }
};

/// All of them. docs/criu-options.md has the same rows (the build compares, compat/table/option_table.cpp).
[[nodiscard]] std::span<const Option> option_table();
/// Null if there is none.
[[nodiscard]] const Option* find_field(std::string_view field);
[[nodiscard]] const Option* find_option(std::string_view name);

/// Settings as they come in. What is wrong with them is only said once there is a log to say it in.
class Asked {
 public:
  /// Empty values and flags that are off stand for "not asked".
  void set(const Option& option, const std::string& value);
  /// `what`: why; once for all `value`s of an option, which are empty if there is nothing to show.
  void refuse(const std::string& what, const std::string& value = {});

  Settings settings;

  /// Logs the warnings. Throws Error with all that is refused, if anything is.
  void judge() const;

 private:
  std::vector<std::string> warnings_;
  struct Refusal {
    std::string what;
    std::string values;
  };
  std::vector<Refusal> refusals_;
};

}  // namespace godwit::compat
