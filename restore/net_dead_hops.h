#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "images-format/net.pb.h"
#include "kernel/netlink.h"

namespace godwit {

/// Routes by several hops live on when one of them dies: its device goes down, or loses its last IPv4
/// address. The kernel takes no route with a dead hop, so all of it must happen again.
class DeadHops {
 public:
  /// The record stays the caller's.
  DeadHops(netlink::Connection& connection, const image::NetNamespace& record);

  [[nodiscard]] bool any() const { return !devices_.empty(); }
  /// Brings up what their devices need, before the routes are made. Other routes by these devices, and IPv6
  /// addresses, may come and go with that. Throws Error.
  void revive();
  /// Lets them die, when the routes are there. Throws Error.
  void let_die();

 private:
  void bring_up(const image::NetDevice& device);
  void set_up(const image::NetDevice& device, bool up);
  /// Gives and takes an IPv4 address.
  void strip(const image::NetDevice& device);

  netlink::Connection& connection_;
  std::map<uint32_t, const image::NetDevice*> by_index_;
  std::set<const image::NetDevice*> devices_;
  std::vector<const image::NetDevice*> up_;  // for a moment, in this order
};

}  // namespace godwit
