#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/rtnetlink.h"

namespace godwit::rtnetlink {

/// Where a route leads.
struct NextHop {
  uint32_t device = 0;  // index; 0: none
  int family = 0;       // of the gateway
  std::string gateway;  // address in network order; empty: none
  bool onlink = false;  // the gateway is taken to be on the device's link
  bool dead = false;    // its device is down, or has no address: the route waits for that to change
};

/// Of a route as the kernel tells it: one, or several (RTA_MULTIPATH); none of a blackhole. What is broken is
/// left out.
[[nodiscard]] std::vector<NextHop> next_hops(std::string_view route);

/// The numbers of the devices that an entry refers to, 0 ("any", "none") not among them.
[[nodiscard]] std::vector<uint32_t> devices_of(Table table, std::string_view entry);

/// That of the device itself, in network order.
[[nodiscard]] std::string address_in(std::string_view address);

/// Routes, and rules, that can differ in nothing else but where they lead stand in an order that matters;
/// they have the same key. Empty: the order doesn't matter.
[[nodiscard]] std::string order_key(Table table, std::string_view entry);

/// A route to `hop`'s gateway alone, straight by its device, in front of all others: with it that gateway is
/// one that can be reached.
[[nodiscard]] std::string route_to_gateway(const NextHop& hop);

}  // namespace godwit::rtnetlink
