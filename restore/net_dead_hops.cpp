#include "restore/net_dead_hops.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <sys/socket.h>

#include <algorithm>

#include "kernel/error.h"
#include "kernel/next_hop.h"

namespace godwit {

DeadHops::DeadHops(netlink::Connection& connection, const image::NetNamespace& record)
    : connection_(connection) {
  for (const image::NetDevice& device : record.devices()) {
    by_index_[device.index()] = &device;
  }
  for (const std::string& route : record.routes()) {
    for (const rtnetlink::NextHop& hop : rtnetlink::next_hops(route)) {
      if (hop.dead) {
        devices_.insert(by_index_.at(hop.device));
      }
    }
  }
}

void DeadHops::revive() {
  for (const image::NetDevice* device : devices_) {
    bring_up(*device);
  }
}

/// What it stands on must be up first.
void DeadHops::bring_up(const image::NetDevice& device) {
  if ((device.flags() & IFF_UP) != 0 || std::ranges::find(up_, &device) != up_.end()) {
    return;
  }
  if (device.kind() != "veth" && device.lower() != 0) {
    bring_up(*by_index_.at(device.lower()));
  }
  set_up(device, true);
  up_.push_back(&device);
}

void DeadHops::let_die() {
  for (const image::NetDevice* device : devices_) {
    if ((device->flags() & IFF_UP) != 0) {
      strip(*device);
    }
  }
  std::ranges::reverse(up_);
  for (const image::NetDevice* device : up_) {
    set_up(*device, false);
  }
}

void DeadHops::set_up(const image::NetDevice& device, bool up) {
  with_context([&] { return fmt::format("network device {} for a moment", device.name()); },
               [&] {
                 ifinfomsg fixed{};
                 fixed.ifi_index = static_cast<int>(device.index());
                 fixed.ifi_flags = up ? IFF_UP : 0;
                 fixed.ifi_change = IFF_UP;
                 netlink::Request request(RTM_NEWLINK);
                 connection_.change(request.fixed(fixed));
               });
}

void DeadHops::strip(const image::NetDevice& device) {
  // "The IPv4 dummy address", which is nobody's (RFC 7600).
  in_addr dummy{};
  ::inet_pton(AF_INET, "192.0.0.8", &dummy);
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = 32;
  fixed.ifa_scope = RT_SCOPE_LINK;
  fixed.ifa_index = device.index();
  for (const auto& [type, flags] : {std::pair(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL), {RTM_DELADDR, 0}}) {
    netlink::Request request(static_cast<uint16_t>(type), static_cast<uint16_t>(flags));
    request.fixed(fixed).add_u32(IFA_LOCAL, dummy.s_addr).add_u32(IFA_ADDRESS, dummy.s_addr);
    with_context([&] { return fmt::format("an address of {} for a moment", device.name()); },
                 [&] { connection_.change(request); });
  }
}

}  // namespace godwit
