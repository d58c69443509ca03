#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/netlink.h"

namespace godwit {

/// A network device as RTM_GETLINK tells it. See rtnetlink(7).
struct NetDevice {
  /// Attributes by type: the raw values.
  using Settings = std::map<uint16_t, std::string>;

  uint32_t index = 0;
  std::string name;
  std::string kind;  // "veth", "bridge"; empty: the loopback device, or one of hardware
  bool loopback = false;
  uint32_t flags = 0;  // IFF_, see netdevice(7)
  std::string address;
  std::string broadcast;
  uint32_t mtu = 0;
  uint32_t queue_length = 0;
  uint32_t group = 0;
  uint32_t master = 0;
  uint32_t lower = 0;                  // IFLA_LINK
  std::optional<int> lower_namespace;  // the number here of the namespace in which that is; none: here
  uint32_t transmit_queues = 1;
  uint32_t receive_queues = 1;
  std::string alias;
  std::vector<std::string> alternative_names;
  bool has_ipv6 = false;
  uint8_t ipv6_address_mode = 0;
  std::string ipv6_token;  // 16 bytes, all zero if there is none
  uint8_t link_mode = 0;
  bool protocol_down = false;
  bool has_program = false;  // XDP
  std::string port_kind;     // of the master
  Settings settings;         // IFLA_INFO_DATA
  Settings port;             // IFLA_INFO_SLAVE_DATA
  Settings limits;           // those of kNetDeviceLimits
};

/// Attributes of every device that limit segmentation; all u32 and settable.
inline constexpr uint16_t kNetDeviceLimits[] = {
    40,  // IFLA_GSO_MAX_SEGS
    41,  // IFLA_GSO_MAX_SIZE
    58,  // IFLA_GRO_MAX_SIZE
    63,  // IFLA_GSO_IPV4_MAX_SIZE
    64,  // IFLA_GRO_IPV4_MAX_SIZE
};

/// The devices of the connection's network namespace, by index. Throws Error.
[[nodiscard]] std::vector<NetDevice> list_net_devices(netlink::Connection& connection);

/// A device that the kernel makes in every namespace once a tunnel's module is loaded, and that nobody uses.
[[nodiscard]] bool is_fallback(const NetDevice& device);

}  // namespace godwit
