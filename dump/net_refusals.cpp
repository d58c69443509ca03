// What a network namespace may hold besides, and nobody looks after yet.
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "dump/net.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit {

namespace {

/// A kernel without it has none of it. Only netfilter says EINVAL to that: of a subsystem that isn't there.
bool is_missing(const Error& e, int protocol) {
  return e.code() == EOPNOTSUPP || e.code() == EPROTONOSUPPORT ||
         (e.code() == EINVAL && protocol == NETLINK_NETFILTER);
}

template <typename T>
void refuse_any(int protocol, int type, const T& request,
                const std::function<void(const netlink::Message&)>& refuse) {
  try {
    netlink::dump(protocol, static_cast<uint16_t>(type), std::as_bytes(std::span(&request, 1)), refuse);
  } catch (const Error& e) {
    if (!is_missing(e, protocol)) {
      throw;
    }
  }
}

/// Tables of one kind per address family, which nfnetlink gives a subsystem of its own.
void refuse_ipsets() {
  constexpr int kSubsystem = 6;    // NFNL_SUBSYS_IPSET
  constexpr int kListMessage = 7;  // IPSET_CMD_LIST
  constexpr uint16_t kProtocol = 1;
  constexpr uint16_t kName = 2;
  constexpr uint8_t kVersion = 6;
  netlink::Request request(kSubsystem << 8 | kListMessage);
  request.fixed(nfgenmsg{AF_INET, NFNETLINK_V0, 0}).add_u8(kProtocol, kVersion);
  try {
    netlink::Connection(NETLINK_NETFILTER).dump(request, [](const netlink::Message& message) {
      throw refusal("IP set {}", netlink::to_text(message.attribute(sizeof(nfgenmsg), kName)));
    });
  } catch (const Error& e) {
    if (!is_missing(e, NETLINK_NETFILTER)) {
      throw;
    }
  }
}

/// What rules refer to by name, and other programs have made.
void refuse_named_objects() {
  struct Objects {
    int subsystem;
    std::string_view name;
  };
  constexpr Objects kObjects[] = {{NFNL_SUBSYS_ACCT, "an object of nfacct(8)"},
                                  {NFNL_SUBSYS_CTNETLINK_TIMEOUT, "a time-out policy of nfct(8)"},
                                  {NFNL_SUBSYS_CTHELPER, "a connection tracking helper in user space"}};
  constexpr int kGetMessage = 1;  // of all of them
  for (const Objects& objects : kObjects) {
    refuse_any(NETLINK_NETFILTER, objects.subsystem << 8 | kGetMessage, nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0},
               [&](const netlink::Message&) { throw refusal("{}", objects.name); });
  }
}

/// Lists of the match "recent": who has been seen when, which nobody but the rule can say.
void warn_of_recent_lists() {
  const std::string directory = "/proc/thread-self/net/xt_recent";
  std::error_code none;
  for (const auto& file : std::filesystem::directory_iterator(directory, none)) {
    const std::string content = read_file(file.path());
    if (!content.empty()) {
      log::warning("the {} entries of the list {} of recently seen addresses aren't kept",
                   std::ranges::count(content, '\n'), file.path().filename().string());
    }
  }
}

void refuse_transformations() {
  refuse_any(NETLINK_XFRM, XFRM_MSG_GETSA, xfrm_usersa_id{},
             [](const netlink::Message&) { throw refusal("an IPsec state"); });
  refuse_any(NETLINK_XFRM, XFRM_MSG_GETPOLICY, xfrm_userpolicy_id{},
             [](const netlink::Message&) { throw refusal("an IPsec policy"); });
}

/// Those that the kernel gives a device by itself have no handle.
void refuse_queue_disciplines(netlink::Connection& connection) {
  netlink::Request request(RTM_GETQDISC);
  request.fixed(tcmsg{});
  connection.dump(request, [](const netlink::Message& message) {
    tcmsg fixed{};
    std::memcpy(&fixed, message.payload.data(), std::min(sizeof fixed, message.payload.size()));
    if (fixed.tcm_handle != 0) {
      throw refusal("queueing discipline {} of network device {}",
                    netlink::to_text(message.attribute(sizeof fixed, TCA_KIND)), fixed.tcm_ifindex);
    }
  });
}

/// Multicast groups of bridges that somebody has entered; those that were learnt are learnt again.
void refuse_multicast_groups() {
  br_port_msg bridges{};
  bridges.family = AF_BRIDGE;
  refuse_any(NETLINK_ROUTE, RTM_GETMDB, bridges, [](const netlink::Message& message) {
    for (const auto& entry : netlink::attributes(message.attribute(sizeof(br_port_msg), MDBA_MDB))) {
      for (const auto& info : netlink::attributes(entry.value)) {
        br_mdb_entry group{};
        std::memcpy(&group, info.value.data(), std::min(sizeof group, info.value.size()));
        if (group.state == MDB_PERMANENT) {
          throw refusal("a permanent multicast group of network device {}", group.ifindex);
        }
      }
    }
  });
}

}  // namespace

void refuse_other_net_state(netlink::Connection& connection) {
  refuse_any(NETLINK_ROUTE, RTM_GETNEXTHOP, nhmsg{},
             [](const netlink::Message&) { throw refusal("a next hop object"); });
  refuse_queue_disciplines(connection);
  refuse_multicast_groups();
  refuse_ipsets();
  refuse_named_objects();
  warn_of_recent_lists();
  refuse_transformations();
}

}  // namespace godwit
