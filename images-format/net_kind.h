#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace godwit {

/// A setting that a kind of network device has: an attribute of IFLA_INFO_DATA (or, of a port,
/// IFLA_INFO_SLAVE_DATA).
struct NetDeviceSetting {
  uint16_t type;
  uint16_t bytes;  // 0: any number, nested attributes for instance
  enum class Use {
    Keep,
    Ignore,  // what the device does at the moment: counters, timers, what it has learnt
    Flag,    // kept, without a value, where it isn't zero
    Zero,    // something that isn't kept: refused unless it is zero or empty
  };
  Use use = Use::Keep;
  std::string_view name = {};  // of Zero: what it is called in a refusal
};

/// A kind of network device that can be made again.
struct NetDeviceKind {
  std::string_view name;  // IFLA_INFO_KIND
  std::span<const NetDeviceSetting> settings;
  bool at_creation;  // the settings must be there when it is made; otherwise they are set one by one later
  enum class Lower { None, Perhaps, Always };
  Lower lower;            // whether it stands on another device
  std::string_view kept;  // in docs/support-table.md
};

/// All of them.
[[nodiscard]] std::span<const NetDeviceKind> net_device_kinds();
/// Null: such devices aren't kept.
[[nodiscard]] const NetDeviceKind* find_net_device_kind(std::string_view name);
/// Null: nothing is known of this attribute.
[[nodiscard]] const NetDeviceSetting* find_setting(std::span<const NetDeviceSetting> settings, uint16_t type);

/// What a port of a bridge has.
[[nodiscard]] std::span<const NetDeviceSetting> bridge_port_settings();

}  // namespace godwit
