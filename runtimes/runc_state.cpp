#include "runtimes/runc_state.h"

#include <climits>
#include <nlohmann/json.hpp>

#include "kernel/error.h"

namespace godwit::runtimes {

namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 64;                // of values in values; runc's has five levels
constexpr uint64_t kLargestPid = 1U << 22;  // PID_MAX_LIMIT, include/linux/threads.h
constexpr size_t kStandardFiles = 3;

Json parse(std::string_view text) {
  if (text.size() > kLongestState) {
    throw error("it has more than {} bytes", kLongestState);
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

/// A value of an object's, null if there is none.
const Json& value(const Json& object, const char* key) {
  static const Json none;
  if (!object.is_object()) {
    throw error("where there should be an object with a value '{}' there is none", key);
  }
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string text(const Json& json, const char* what) {
  if (!json.is_string()) {
    throw error("'{}' isn't a string", what);
  }
  std::string read = json.get<std::string>();
  if (read.size() >= PATH_MAX || read.find('\0') != std::string::npos) {
    throw error("'{}' is longer than any path, or has a zero byte in it", what);
  }
  return read;
}

std::string path(const Json& json, const char* what) {
  std::string read = text(json, what);
  if (!read.starts_with('/')) {
    throw error("'{}' isn't an absolute path", what);
  }
  return read;
}

uint64_t number(const Json& object, const char* key, uint64_t largest) {
  const Json& json = value(object, key);
  if (!json.is_number_unsigned() || json.get<uint64_t>() == 0 || json.get<uint64_t>() > largest) {
    throw error("'{}' isn't a number from 1 to {}", key, largest);
  }
  return json.get<uint64_t>();
}

/// Go writes a list without elements as null.
template <typename Read>
auto list(const Json& object, const char* key, const Read& read) {
  std::vector<decltype(read(object))> elements;
  const Json& json = value(object, key);
  if (!json.is_null() && !json.is_array()) {
    throw error("'{}' isn't a list", key);
  }
  for (const Json& element : json) {
    elements.push_back(read(element));
  }
  return elements;
}

std::map<std::string, std::string> read_cgroups(const Json& state) {
  const Json& json = value(state, "cgroup_paths");
  if (!json.is_null() && !json.is_object()) {
    throw error("'cgroup_paths' isn't an object");
  }
  std::map<std::string, std::string> cgroups;
  for (const auto& [controller, directory] : json.items()) {
    cgroups[controller] = path(directory, "cgroup_paths");
  }
  return cgroups;
}

/// Labels are KEY=VALUE.
void read_labels(const Json& config, RuncState& state) {
  for (const std::string& label :
       list(config, "labels", [](const Json& one) { return text(one, "labels"); })) {
    const size_t at = label.find('=');
    const std::string key = label.substr(0, at);
    const std::string said = at == std::string::npos ? "" : label.substr(at + 1);
    if (key == "bundle") {
      state.bundle = path(said, "bundle");
    } else if (key == "io.container.manager") {
      state.manager = said;
    }
  }
}

}  // namespace

RuncState parse_runc_state(std::string_view text_of_file) {
  const Json json = parse(text_of_file);
  RuncState state;
  state.id = text(value(json, "id"), "id");
  state.pid = static_cast<pid_t>(number(json, "init_process_pid", kLargestPid));
  state.start_time = number(json, "init_process_start", UINT64_MAX);
  const Json& config = value(json, "config");
  state.root = path(value(config, "rootfs"), "rootfs");
  read_labels(config, state);
  state.mounts = list(config, "mounts", [](const Json& one) {
    return RuncState::Mount{path(value(one, "destination"), "destination"),
                            text(value(one, "device"), "device")};
  });
  state.devices =
      list(config, "devices", [](const Json& one) { return path(value(one, "path"), "path of a device"); });
  state.masked_paths = list(config, "mask_paths", [](const Json& one) { return path(one, "mask_paths"); });
  state.namespaces = list(config, "namespaces", [](const Json& one) {
    const Json& joined = value(one, "path");
    const bool is_new =
        joined.is_null() || (joined.is_string() && joined.get_ref<const std::string&>().empty());
    return RuncState::Namespace{text(value(one, "type"), "type of a namespace"),
                                is_new ? "" : path(joined, "path of a namespace")};
  });
  state.cgroups = read_cgroups(json);
  state.standard_files =
      list(json, "external_descriptors", [](const Json& one) { return text(one, "external_descriptors"); });
  if (state.standard_files.size() != kStandardFiles) {
    throw error("'external_descriptors' doesn't name the {} standard files", kStandardFiles);
  }
  return state;
}

}  // namespace godwit::runtimes
