#include "runtimes/inspected.h"

#include <algorithm>

#include "runtimes/command.h"
#include "runtimes/json_value.h"

namespace godwit::runtimes {

namespace {

constexpr size_t kIdLength = 64;

/// Paths are made of it.
std::string read_id(const Json& json) {
  std::string id = json_text(json_value(json, "Id"), "Id");
  if (id.size() != kIdLength || id.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw error("'Id' isn't {} hexadecimal digits", kIdLength);
  }
  return id;
}

/// Empty if there is none.
std::string optional_text(const Json& object, const char* key) {
  const Json& json = json_value(object, key);
  return json.is_null() ? "" : json_text(json, key);
}

void read_state(const Json& state, InspectedContainer& container) {
  container.status = json_text(json_value(state, "Status"), "Status");
  container.running = json_flag(state, "Running");
  container.paused = json_flag(state, "Paused");
  container.restarting = json_flag(state, "Restarting");
  container.pid = json_pid(state, "Pid", 0);
}

/// Drivers of storage that mount a container's root say where.
std::string read_root(const Json& json) {
  std::string root = optional_text(json, "Rootfs");
  const Json& driver = json_value(json, "GraphDriver");
  if (root.empty() && !driver.is_null()) {
    const Json& data = json_value(driver, "Data");
    root = data.is_null() ? "" : optional_text(data, "MergedDir");
  }
  return root;
}

std::string read_network(const Json& json, const Json& host) {
  std::string all;
  const Json& settings = json_value(json, "NetworkSettings");
  const Json& networks = settings.is_null() ? settings : json_value(settings, "Networks");
  if (!networks.is_null() && !networks.is_object()) {
    throw error("'Networks' isn't an object");
  }
  for (const auto& [name, network] : networks.items()) {
    const std::string address = optional_text(network, "IPAddress");
    all += (all.empty() ? "" : ", ") + name + (address.empty() ? "" : " " + address);
  }
  return all.empty() ? optional_text(host, "NetworkMode") : all;
}

}  // namespace

InspectedContainer parse_inspected(std::string_view text) {
  const Json list = parse_json(text, kLongestOutput);
  if (!list.is_array() || list.size() != 1) {
    throw error("it isn't a list of one container");
  }
  const Json& json = list.front();
  InspectedContainer container;
  container.id = read_id(json);
  container.name = json_text(json_value(json, "Name"), "Name");
  container.name.erase(0, container.name.starts_with('/') ? 1 : 0);
  read_state(json_value(json, "State"), container);
  container.root = read_root(json);
  if (const Json& directory = json_value(json, "StaticDir"); !directory.is_null()) {
    container.directory = json_path(directory, "StaticDir");
  }
  json_list(json, "Mounts", [&](const Json& one) {
    return container.mounts[json_path(json_value(one, "Destination"), "Destination")] =
               optional_text(one, "Source");
  });
  const Json& host = json_value(json, "HostConfig");
  container.removed_at_end = json_flag(host, "AutoRemove");
  if (const Json& policy = json_value(host, "RestartPolicy"); !policy.is_null()) {
    container.restart_policy = optional_text(policy, "Name");
  }
  container.network = read_network(json, host);
  return container;
}

}  // namespace godwit::runtimes
