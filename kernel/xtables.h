#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/filter_extension.h"

/// The tables of iptables, ip6tables and arptables in their older form, before nftables; those of the calling
/// thread's network namespace. See iptables-legacy(8).
namespace godwit::xtables {

enum class Family { Ipv4, Ipv6, Arp };

/// One table, as the kernel's own entries: what it tells is what it wants to hear. Offsets are bytes in the
/// entries, by hook.
struct Table {
  Family family = Family::Ipv4;
  std::string name;          // "filter"
  uint32_t valid_hooks = 0;  // bits
  std::vector<uint32_t> hook_entries;
  std::vector<uint32_t> underflows;
  std::string entries;  // struct ipt_entry and the like, with their counts
};

/// Such a table can exist.
[[nodiscard]] bool is_known(Family family, std::string_view name);
/// How many hooks a family has, which is how many offsets its tables have of each kind.
[[nodiscard]] size_t hooks_of(Family family);
/// How many entries it has. Throws Error where they don't fit together.
[[nodiscard]] uint32_t count(const Table& table);

/// Those that this namespace has and that aren't empty; none is made by looking. Throws Error.
[[nodiscard]] std::vector<Table> list();

/// Makes it what the table of that name is, with the counts. Throws Error.
void load(const Table& table);

/// Calls `visit` for each match and target. Throws Error as count().
void for_each_extension(const Table& table, const std::function<void(const FilterExtension&)>& visit);

/// In words: "the table filter of iptables-legacy".
[[nodiscard]] std::string describe(const Table& table);

}  // namespace godwit::xtables
