#include "runtimes/json_value.h"

#include <climits>

namespace godwit::runtimes {

namespace {

constexpr int kDeepest = 64;                // of values in values; runtimes have some five levels
constexpr uint64_t kLargestPid = 1U << 22;  // PID_MAX_LIMIT, include/linux/threads.h

}  // namespace

Json parse_json(std::string_view text, size_t longest) {
  if (text.size() > longest) {
    throw error("it has more than {} bytes", longest);
  }
  const auto not_too_deep = [](int depth, Json::parse_event_t, const Json&) {
    if (depth > kDeepest) {
      throw error("its values are nested more than {} deep", kDeepest);
    }
    return true;
  };
  try {
    return Json::parse(text, not_too_deep);
  } catch (const Json::parse_error& e) {
    throw error("it isn't JSON, as byte {} shows", e.byte);
  } catch (const Json::exception&) {
    throw error("it has a number that is too large");
  }
}

const Json& json_value(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) {
    throw error("where there should be an object with a value '{}' there is none", key);
  }
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string json_text(const Json& json, const char* what) {
  if (!json.is_string()) {
    throw error("'{}' isn't a string", what);
  }
  std::string read = json.get<std::string>();
  if (read.size() >= PATH_MAX || read.find('\0') != std::string::npos) {
    throw error("'{}' is longer than any path, or has a zero byte in it", what);
  }
  return read;
}

std::string json_path(const Json& json, const char* what) {
  std::string read = json_text(json, what);
  if (!read.starts_with('/')) {
    throw error("'{}' isn't an absolute path", what);
  }
  return read;
}

uint64_t json_number(const Json& object, const char* key, uint64_t least, uint64_t largest) {
  const Json& json = json_value(object, key);
  if (!json.is_number_unsigned() || json.get<uint64_t>() < least || json.get<uint64_t>() > largest) {
    throw error("'{}' isn't a number from {} to {}", key, least, largest);
  }
  return json.get<uint64_t>();
}

pid_t json_pid(const Json& object, const char* key, pid_t least) {
  return static_cast<pid_t>(json_number(object, key, static_cast<uint64_t>(least), kLargestPid));
}

bool json_flag(const Json& object, const char* key) {
  const Json& json = json_value(object, key);
  if (!json.is_null() && !json.is_boolean()) {
    throw error("'{}' is neither true nor false", key);
  }
  return json.is_boolean() && json.get<bool>();
}

}  // namespace godwit::runtimes
