#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/error.h"

/// JSON that other programs have written, of which nothing is believed before it has been looked at. All
/// throw Error for a value that is missing or of another kind; `what` and `key` stand in it.
namespace godwit::runtimes {

using Json = nlohmann::json;

/// Throws Error for what isn't JSON, has more than `longest` bytes, or is nested too deep.
[[nodiscard]] Json parse_json(std::string_view text, size_t longest);

/// A value of an object's, null if there is none.
[[nodiscard]] const Json& json_value(const Json& object, const char* key);
/// Shorter than PATH_MAX, and without zero bytes.
[[nodiscard]] std::string json_text(const Json& json, const char* what);
/// An absolute path.
[[nodiscard]] std::string json_path(const Json& json, const char* what);
/// From `least` to `largest`.
[[nodiscard]] uint64_t json_number(const Json& object, const char* key, uint64_t least, uint64_t largest);
/// A pid that Linux can give.
[[nodiscard]] pid_t json_pid(const Json& object, const char* key, pid_t least);
/// True or false; false if there is none.
[[nodiscard]] bool json_flag(const Json& object, const char* key);

/// Go writes a list without elements as null.
template <typename Read>
auto json_list(const Json& object, const char* key, const Read& read) {
  std::vector<decltype(read(object))> elements;
  const Json& json = json_value(object, key);
  if (!json.is_null() && !json.is_array()) {
    throw error("'{}' isn't a list", key);
  }
  for (const Json& element : json) {
    elements.push_back(read(element));
  }
  return elements;
}

}  // namespace godwit::runtimes
