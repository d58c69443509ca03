#pragma once

#include <linux/rtnetlink.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/netlink.h"

/// Tables of a network namespace that are lists of messages: the kernel tells each entry in the words in
/// which it wants to hear it. See rtnetlink(7).
namespace godwit::rtnetlink {

enum class Table { Address, Rule, Route, Neighbour, AddressLabel, Forwarding };

/// As it is called in messages: "address", "route".
[[nodiscard]] std::string_view name_of(Table table);
/// Of the part in front of the attributes; entries are no shorter.
[[nodiscard]] size_t fixed_size(Table table);
[[nodiscard]] uint8_t family_of(std::string_view entry);

/// An entry without what only the kernel says and doesn't want to hear (ages, use counts, whether a device
/// is up now), its attributes in order of type: two that are alike are equal byte by byte. Throws Error for
/// one that is shorter than its fixed part.
[[nodiscard]] std::string canonical(Table table, std::string_view entry);

/// What the kernel has, canonical, in its order. Of neighbours only what somebody has entered for good;
/// of forwarding entries (of bridges and tunnels, see bridge(8), fdb) what isn't learnt; of routes not what
/// the kernel remembers of single destinations, nor those for its own IPv6 addresses and multicast, which
/// come and go with addresses at their own pace. Throws Error.
[[nodiscard]] std::vector<std::string> list(netlink::Connection& connection, Table table);

/// Throws Error with errno as code.
void add(netlink::Connection& connection, Table table, std::string_view entry);
void remove(netlink::Connection& connection, Table table, std::string_view entry);

/// The value of an attribute of an entry, 0 if it has none.
[[nodiscard]] uint32_t number_in(Table table, std::string_view entry, uint16_t attribute);

/// An entry in words for messages: "10.0.0.0/8 in table 254 (protocol 4)".
[[nodiscard]] std::string describe(Table table, std::string_view entry);

}  // namespace godwit::rtnetlink
