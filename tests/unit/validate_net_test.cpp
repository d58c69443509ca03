// What a network namespace in an image may say: all of it comes from whoever wrote the image.
#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <string>

#include "images-format/validate_index.h"
#include "kernel/error.h"
#include "kernel/netlink.h"

namespace godwit {
namespace {

template <typename T>
std::string bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

image::NetDevice& add_device(image::NetNamespace& space, uint32_t index, const char* name, const char* kind) {
  image::NetDevice& device = *space.add_devices();
  device.set_index(index);
  device.set_name(name);
  device.set_kind(kind);
  return device;
}

/// A loopback device, a pair, a bridge with a port, a VLAN on a device, and an entry of each table.
image::NetNamespace sample() {
  image::NetNamespace space;
  add_device(space, 1, "lo", "");
  add_device(space, 2, "va", "veth").set_lower(3);
  image::NetDevice& port = add_device(space, 3, "vb", "veth");
  port.set_lower(2);
  port.set_master(4);
  add_device(space, 4, "br0", "bridge");
  add_device(space, 5, "va.7", "vlan").set_lower(2);
  rtmsg route{};
  route.rtm_family = AF_INET;
  space.add_routes(bytes(route));
  ifaddrmsg address{};
  address.ifa_family = AF_INET6;
  space.add_addresses(bytes(address));
  image::NetSetting& setting = *space.add_settings();
  setting.set_path("ipv4/conf/va.7/rp_filter");
  setting.set_value("1");
  return space;
}

std::string verdict(const std::function<void(image::NetNamespace&)>& damage) {
  image::NetNamespace space = sample();
  damage(space);
  try {
    validate_net(space);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(ValidateNet, TheSampleIsGood) {
  EXPECT_EQ(verdict([](auto&) {}), "");
}

TEST(ValidateNet, Devices) {
  const auto device = [](int n, const std::function<void(image::NetDevice&)>& damage) {
    return verdict([&](image::NetNamespace& space) { damage(*space.mutable_devices(n)); });
  };
  EXPECT_NE(device(0, [](auto& d) { d.set_name("foo"); }), "");
  EXPECT_NE(device(0, [](auto& d) { d.set_index(9); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_index(0); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_index(3); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_index(UINT32_MAX); }), "");
  for (const char* name : {"", "a name", "a/b", "..", "sixteen-letters-", "a:b", "vb"}) {
    EXPECT_NE(device(1, [&](auto& d) { d.set_name(name); }), "") << name;
    if (std::string_view(name) != "sixteen-letters-" && std::string_view(name) != "vb") {
      EXPECT_NE(device(1, [&](auto& d) { d.add_alternative_names(name); }), "") << name;
    }
  }
  EXPECT_NE(device(1, [](auto& d) { d.set_kind("wireguard"); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_kind(""); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_lower(4); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_lower(2); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_lower(77); }), "");
  EXPECT_NE(device(2, [](auto& d) { d.set_master(2); }), "");
  EXPECT_NE(device(2, [](auto& d) { d.set_master(77); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.add_port()->set_type(IFLA_BRPORT_COST); }), "");
  EXPECT_NE(device(4, [](auto& d) { d.set_lower(0); }), "");
  EXPECT_NE(device(4, [](auto& d) { d.set_lower(5); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_address(std::string(33, 'x')); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_alias(std::string(256, 'x')); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_transmit_queues(4097); }), "");
  EXPECT_NE(device(1, [](auto& d) { d.set_ipv6_token("short"); }), "");
}

TEST(ValidateNet, DevicesInACircle) {
  EXPECT_NE(verdict([](image::NetNamespace& space) {
              add_device(space, 6, "x", "vlan").set_lower(7);
              add_device(space, 7, "y", "vlan").set_lower(6);
            }),
            "");
}

TEST(ValidateNet, Attributes) {
  const auto attribute = [](uint32_t type, const std::string& value) {
    return verdict([&](image::NetNamespace& space) {
      image::NetAttribute& made = *space.mutable_devices(3)->add_settings();
      made.set_type(type);
      made.set_value(value);
    });
  };
  EXPECT_EQ(attribute(IFLA_BR_PRIORITY, "xy"), "");
  EXPECT_NE(attribute(IFLA_BR_PRIORITY, "xyz"), "");
  EXPECT_NE(attribute(IFLA_BR_BRIDGE_ID, std::string(8, 'x')), "");
  EXPECT_NE(attribute(IFLA_BR_VLAN_FILTERING, "x"), "");
  EXPECT_NE(attribute(65536 + IFLA_BR_PRIORITY, "xy"), "");
  EXPECT_NE(attribute(1000, "xy"), "");
  EXPECT_NE(verdict([](image::NetNamespace& space) {
              for (int i = 0; i < 2; ++i) {
                image::NetAttribute& made = *space.mutable_devices(3)->add_settings();
                made.set_type(IFLA_BR_PRIORITY);
                made.set_value("xy");
              }
            }),
            "");
  EXPECT_NE(verdict([](image::NetNamespace& space) {
              image::NetAttribute& limit = *space.mutable_devices(1)->add_limits();
              limit.set_type(IFLA_NET_NS_PID);
              limit.set_value("four");
            }),
            "");
}

TEST(ValidateNet, Entries) {
  EXPECT_NE(verdict([](auto& space) { space.mutable_routes(0)->pop_back(); }), "");
  EXPECT_NE(verdict([](auto& space) { space.mutable_routes(0)->append(1 << 16, 'x'); }), "");
  EXPECT_NE(verdict([](auto& space) { space.mutable_routes(0)->front() = AF_MPLS; }), "");
  EXPECT_NE(verdict([](auto& space) { space.mutable_addresses(0)->clear(); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_rules("x"); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_neighbours("x"); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_address_labels("x"); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_forwarding(std::string(12, AF_INET)); }), "");
}

/// Those that are there, and 0.
TEST(ValidateNet, EntriesNameDevices) {
  const auto address = [](uint32_t index) {
    return verdict([&](auto& space) {
      ifaddrmsg fixed{};
      fixed.ifa_family = AF_INET;
      fixed.ifa_index = index;
      space.add_addresses(bytes(fixed));
    });
  };
  EXPECT_EQ(address(5), "");
  EXPECT_NE(address(6), "");
  const auto neighbour = [](int index) {
    return verdict([&](auto& space) {
      ndmsg fixed{};
      fixed.ndm_family = AF_INET;
      fixed.ndm_ifindex = index;
      space.add_neighbours(bytes(fixed));
    });
  };
  EXPECT_EQ(neighbour(0), "");
  EXPECT_EQ(neighbour(5), "");
  EXPECT_NE(neighbour(6), "");
  EXPECT_NE(neighbour(-1), "");
  const auto route = [](int first, int second) {
    return verdict([&](auto& space) {
      rtmsg fixed{};
      fixed.rtm_family = AF_INET;
      rtnexthop hops[2] = {};
      hops[0] = {sizeof(rtnexthop), 0, 0, first};
      hops[1] = {sizeof(rtnexthop), RTNH_F_DEAD, 0, second};
      netlink::Request request(0);
      request.fixed(fixed).add(RTA_MULTIPATH, std::as_bytes(std::span(hops)));
      const auto payload = request.payload();
      space.add_routes(std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
    });
  };
  EXPECT_EQ(route(2, 3), "");
  EXPECT_NE(route(6, 3), "");
  EXPECT_NE(route(2, 6), "");
}

TEST(ValidateNet, PartsOfARuleset) {
  const auto part = [](uint32_t type, size_t bytes) {
    return verdict([&](auto& space) {
      image::NetFilterPart& made = *space.add_nftables();
      made.set_type(type);
      made.set_payload(std::string(bytes, 'x'));
    });
  };
  EXPECT_EQ(part(NFT_MSG_NEWTABLE, sizeof(nfgenmsg)), "");
  EXPECT_EQ(part(NFT_MSG_NEWRULE, 60 << 10), "");
  EXPECT_NE(part(NFT_MSG_NEWRULE, 70 << 10), "");
  EXPECT_NE(part(NFT_MSG_NEWRULE, sizeof(nfgenmsg) - 1), "");
  EXPECT_NE(part(NFT_MSG_DELTABLE, sizeof(nfgenmsg)), "");
  EXPECT_NE(part(65536 + NFT_MSG_NEWTABLE, sizeof(nfgenmsg)), "");
  EXPECT_NE(verdict([](auto& space) {
              for (int i = 0; i < (256 << 10) / 60 + 1; ++i) {
                image::NetFilterPart& made = *space.add_nftables();
                made.set_type(NFT_MSG_NEWRULE);
                made.set_payload(std::string(60 << 10, 'x'));
              }
            }),
            "");
}

/// One entry, with a target alone.
image::LegacyFilterTable legacy_table() {
  image::LegacyFilterTable table;
  table.set_family(image::LegacyFilterTable::IPV6);
  table.set_name("mangle");
  table.mutable_hook_entries()->Resize(5, 0);
  table.mutable_underflows()->Resize(5, 0);
  ip6t_entry entry{};
  entry.target_offset = sizeof entry;
  entry.next_offset = sizeof entry + sizeof(xt_standard_target);
  table.set_entries(bytes(entry) + bytes(xt_standard_target{}));
  return table;
}

TEST(ValidateNet, LegacyFilters) {
  const auto table = [](const std::function<void(image::LegacyFilterTable&)>& damage) {
    return verdict([&](image::NetNamespace& space) {
      *space.add_legacy_filters() = legacy_table();
      damage(*space.mutable_legacy_filters(0));
    });
  };
  const auto entry = [&](const std::function<void(ip6t_entry&)>& damage) {
    return table([&](auto& t) {
      ip6t_entry made;
      std::memcpy(&made, t.entries().data(), sizeof made);
      damage(made);
      t.mutable_entries()->replace(0, sizeof made, bytes(made));
    });
  };
  EXPECT_EQ(table([](auto&) {}), "");
  EXPECT_NE(table([](auto& t) { t.set_family(static_cast<image::LegacyFilterTable::Family>(3)); }), "");
  EXPECT_NE(table([](auto& t) { t.set_name("broute"); }), "");
  EXPECT_NE(table([](auto& t) { t.set_name(""); }), "");
  EXPECT_NE(table([](auto& t) { t.mutable_hook_entries()->RemoveLast(); }), "");
  EXPECT_NE(table([](auto& t) { t.add_underflows(1); }), "");
  EXPECT_NE(table([](auto& t) { t.mutable_entries()->pop_back(); }), "");
  EXPECT_NE(table([](auto& t) { t.mutable_entries()->append("x"); }), "");
  EXPECT_NE(entry([](auto& e) { e.next_offset = 0; }), "");
  EXPECT_NE(entry([](auto& e) { e.next_offset = UINT16_MAX; }), "");
  EXPECT_NE(entry([](auto& e) { e.target_offset = 0; }), "");
  EXPECT_NE(entry([](auto& e) { e.target_offset = e.next_offset; }), "");
  EXPECT_NE(verdict([](auto& space) {
              *space.add_legacy_filters() = legacy_table();
              *space.add_legacy_filters() = legacy_table();
            }),
            "");
}

TEST(ValidateNet, TrackedConnections) {
  EXPECT_EQ(verdict([](auto& space) { space.add_tracked_connections(std::string(sizeof(nfgenmsg), 'x')); }),
            "");
  EXPECT_NE(verdict([](auto& space) { space.add_tracked_connections(""); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_expected_connections(std::string(3, 'x')); }), "");
  EXPECT_NE(verdict([](auto& space) { space.add_tracked_connections(std::string(70 << 10, 'x')); }), "");
}

TEST(ValidateNet, SettingsLieBelowProcSysNet) {
  for (const char* path :
       {"", "/etc/passwd", "../kernel/core_pattern", "ipv4/../../kernel/x", "ipv4//x", "ipv4/", "./ipv4/x"}) {
    EXPECT_NE(verdict([&](auto& space) { space.mutable_settings(0)->set_path(path); }), "") << path;
  }
  EXPECT_NE(verdict([](auto& space) { space.mutable_settings(0)->set_path(std::string("a\0b", 3)); }), "");
  EXPECT_NE(verdict([](auto& space) { space.mutable_settings(0)->set_value(std::string(2 << 20, 'x')); }),
            "");
}

}  // namespace
}  // namespace godwit
