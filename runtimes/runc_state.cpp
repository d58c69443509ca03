#include "runtimes/runc_state.h"

#include "kernel/error.h"
#include "runtimes/json_value.h"

namespace godwit::runtimes {

namespace {

constexpr size_t kStandardFiles = 3;

std::map<std::string, std::string> read_cgroups(const Json& state) {
  const Json& json = json_value(state, "cgroup_paths");
  if (!json.is_null() && !json.is_object()) {
    throw error("'cgroup_paths' isn't an object");
  }
  std::map<std::string, std::string> cgroups;
  for (const auto& [controller, directory] : json.items()) {
    cgroups[controller] = json_path(directory, "cgroup_paths");
  }
  return cgroups;
}

/// Labels are KEY=VALUE.
void read_labels(const Json& config, RuncState& state) {
  for (const std::string& label :
       json_list(config, "labels", [](const Json& one) { return json_text(one, "labels"); })) {
    const size_t at = label.find('=');
    const std::string key = label.substr(0, at);
    const std::string said = at == std::string::npos ? "" : label.substr(at + 1);
    if (key == "bundle") {
      state.bundle = json_path(said, "bundle");
    } else if (key == "io.container.manager") {
      state.manager = said;
    }
  }
}

}  // namespace

RuncState parse_runc_state(std::string_view text_of_file) {
  const Json json = parse_json(text_of_file, kLongestState);
  RuncState state;
  state.id = json_text(json_value(json, "id"), "id");
  state.pid = json_pid(json, "init_process_pid", 1);
  state.start_time = json_number(json, "init_process_start", 1, UINT64_MAX);
  const Json& config = json_value(json, "config");
  state.root = json_path(json_value(config, "rootfs"), "rootfs");
  read_labels(config, state);
  state.mounts = json_list(config, "mounts", [](const Json& one) {
    return RuncState::Mount{json_path(json_value(one, "destination"), "destination"),
                            json_text(json_value(one, "device"), "device")};
  });
  state.devices = json_list(config, "devices", [](const Json& one) {
    return json_path(json_value(one, "path"), "path of a device");
  });
  state.masked_paths =
      json_list(config, "mask_paths", [](const Json& one) { return json_path(one, "mask_paths"); });
  state.namespaces = json_list(config, "namespaces", [](const Json& one) {
    const Json& joined = json_value(one, "path");
    const bool is_new =
        joined.is_null() || (joined.is_string() && joined.get_ref<const std::string&>().empty());
    return RuncState::Namespace{json_text(json_value(one, "type"), "type of a namespace"),
                                is_new ? "" : json_path(joined, "path of a namespace")};
  });
  state.cgroups = read_cgroups(json);
  state.standard_files = json_list(json, "external_descriptors",
                                   [](const Json& one) { return json_text(one, "external_descriptors"); });
  if (state.standard_files.size() != kStandardFiles) {
    throw error("'external_descriptors' doesn't name the {} standard files", kStandardFiles);
  }
  return state;
}

}  // namespace godwit::runtimes
