#include "restore/net_outside.h"

#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "images-format/namespace.pb.h"
#include "kernel/cancel.h"
#include "kernel/error.h"
#include "kernel/net_device.h"
#include "kernel/netlink.h"

namespace godwit {

namespace {

struct Outside {
  std::string name;
  std::string bridge;  // empty: none
};

Outside parse(const std::string& text) {
  const size_t at = text.rfind('@');
  Outside outside{text.substr(0, at), at == std::string::npos ? "" : text.substr(at + 1)};
  if (outside.name.empty() || outside.name.size() >= IFNAMSIZ || outside.bridge.size() >= IFNAMSIZ ||
      (at != std::string::npos && outside.bridge.empty())) {
    throw error("the outer end of a veth pair is OUT or OUT@BRIDGE, two names of devices, not '{}'", text);
  }
  return outside;
}

/// With the zero byte that ends it.
void add_name(netlink::Request& request, uint16_t type, const std::string& name) {
  request.add(type, std::string_view(name.c_str(), name.size() + 1));
}

void make_pair(netlink::Connection& connection, const image::NetDevice& inner, const Outside& outside,
               pid_t pid) {
  netlink::Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.fixed(ifinfomsg{});
  add_name(request, IFLA_IFNAME, outside.name);
  request.add_u32(IFLA_MTU, inner.mtu());
  request.nest(IFLA_LINKINFO, [&] {
    add_name(request, IFLA_INFO_KIND, "veth");
    request.nest(IFLA_INFO_DATA, [&] {
      request.nest(VETH_INFO_PEER, [&] {
        ifinfomsg fixed{};
        fixed.ifi_index = static_cast<int>(inner.index());
        request.fixed(fixed);
        add_name(request, IFLA_IFNAME, inner.name());
        request.add(IFLA_ADDRESS, inner.address());
        request.add_u32(IFLA_NUM_TX_QUEUES, inner.transmit_queues());
        request.add_u32(IFLA_NUM_RX_QUEUES, inner.receive_queues());
        request.add_u32(IFLA_NET_NS_PID, static_cast<uint32_t>(pid));
      });
    });
  });
  connection.change(request);
}

uint32_t index_of(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) {
    throw errno_error("cannot find network device {}", name);
  }
  return index;
}

/// `flags` become those of the device, as far as they are in `change`.
netlink::Request about(uint32_t index, uint32_t flags = 0, uint32_t change = 0) {
  ifinfomsg fixed{};
  fixed.ifi_index = static_cast<int>(index);
  fixed.ifi_flags = flags;
  fixed.ifi_change = change;
  netlink::Request request(RTM_NEWLINK);
  request.fixed(fixed);
  return request;
}

bool is_veth(netlink::Connection& connection, const std::string& name) {
  return std::ranges::any_of(list_net_devices(connection), [&](const NetDevice& device) {
    return device.name == name && device.kind == "veth";
  });
}

/// The kernel takes a pair away a while after the last process of its namespace has gone.
void make_pair_in_time(netlink::Connection& connection, const image::NetDevice& inner, const Outside& outside,
                       pid_t pid) {
  constexpr std::chrono::milliseconds kPatience{2000};
  constexpr std::chrono::milliseconds kPause{5};
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    try {
      make_pair(connection, inner, outside, pid);
      return;
    } catch (const Error& e) {
      if (e.code() != EEXIST || std::chrono::steady_clock::now() >= end ||
          !is_veth(connection, outside.name)) {
        throw;
      }
    }
    check_cancelled();
    std::this_thread::sleep_for(kPause);
  }
}

/// Calls `body` for each device whose other end is outside, with what was handed over for it.
template <typename Body>
void for_each(const Plan& plan, const std::map<std::string, std::string>& given, Body&& body) {
  const image::Namespace* space = plan.root_namespace("net");
  if (space == nullptr || !space->external().empty()) {
    return;
  }
  for (const image::NetDevice& device : space->net().devices()) {
    if (device.external().empty()) {
      continue;
    }
    with_context([&] { return fmt::format("network device {}", device.name()); },
                 [&] {
                   const std::string name = fmt::format("veth[{}]", device.name());
                   const auto found = given.find(name);
                   if (found == given.end()) {
                     throw error("the other end of this veth pair was outside")
                         .hint(fmt::format("say what it is called now, and perhaps to which bridge it "
                                           "belongs: {}=OUT@BRIDGE; when dumped it was said to be {}",
                                           name, device.external()));
                   }
                   with_context([&] { return fmt::format("its other end {}", found->second); },
                                [&] { body(device, parse(found->second)); });
                 });
  }
}

}  // namespace

OuterEnds::~OuterEnds() {
  for (const uint32_t index : made_) {
    try {
      netlink::Request request(RTM_DELLINK);
      ifinfomsg fixed{};
      fixed.ifi_index = static_cast<int>(index);
      netlink::Connection(NETLINK_ROUTE).change(request.fixed(fixed));
    } catch (const Error&) {
      // It has gone with the other end.
    }
  }
}

void OuterEnds::check(const Plan& plan, const std::map<std::string, std::string>& given) {
  for_each(plan, given, [](const image::NetDevice&, const Outside& outside) {
    if (!outside.bridge.empty()) {
      index_of(outside.bridge);
    }
  });
}

void OuterEnds::make(const Plan& plan, const std::map<std::string, std::string>& given, pid_t pid) {
  for_each(plan, given, [&](const image::NetDevice& device, const Outside& outside) {
    netlink::Connection connection(NETLINK_ROUTE);
    make_pair_in_time(connection, device, outside, pid);
    made_.push_back(index_of(outside.name));
    if (!outside.bridge.empty()) {
      netlink::Request request = about(made_.back());
      connection.change(request.add_u32(IFLA_MASTER, index_of(outside.bridge)));
    }
  });
}

void OuterEnds::bring_up() {
  for (const uint32_t index : made_) {
    with_context([&] { return fmt::format("network device {}", index); },
                 [&] { netlink::Connection(NETLINK_ROUTE).change(about(index, IFF_UP, IFF_UP)); });
  }
}

}  // namespace godwit
