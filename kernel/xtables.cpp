#include "kernel/xtables.h"

#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter_arp.h>
#include <linux/netfilter_arp/arp_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <span>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::xtables {

namespace {

/// What the families differ in. Options (of getsockopt(2) and setsockopt(2)) count from `base`.
struct Layout {
  Family family;
  std::string_view program;
  const char* names;  // below /proc/thread-self/net
  int domain;
  int level;
  int base;
  size_t hooks;
  size_t entry;  // bytes before the matches
  size_t target_offset;
  size_t next_offset;
  size_t counters;
  std::array<std::string_view, 5> tables;
};

constexpr std::array<Layout, 3> kLayouts = {{
    {Family::Ipv4,
     "iptables",
     "ip_tables_names",
     AF_INET,
     IPPROTO_IP,
     IPT_BASE_CTL,
     NF_INET_NUMHOOKS,
     sizeof(ipt_entry),
     offsetof(ipt_entry, target_offset),
     offsetof(ipt_entry, next_offset),
     offsetof(ipt_entry, counters),
     {"filter", "nat", "mangle", "raw", "security"}},
    {Family::Ipv6,
     "ip6tables",
     "ip6_tables_names",
     AF_INET6,
     IPPROTO_IPV6,
     IP6T_BASE_CTL,
     NF_INET_NUMHOOKS,
     sizeof(ip6t_entry),
     offsetof(ip6t_entry, target_offset),
     offsetof(ip6t_entry, next_offset),
     offsetof(ip6t_entry, counters),
     {"filter", "nat", "mangle", "raw", "security"}},
    {Family::Arp,
     "arptables",
     "arp_tables_names",
     AF_INET,
     IPPROTO_IP,
     ARPT_BASE_CTL,
     NF_ARP_NUMHOOKS,
     sizeof(arpt_entry),
     offsetof(arpt_entry, target_offset),
     offsetof(arpt_entry, next_offset),
     offsetof(arpt_entry, counters),
     {"filter"}},
}};

// The same in all families, as far as the layout doesn't say.
constexpr int kSetReplace = 0;
constexpr int kSetAddCounters = 1;
constexpr int kGetInfo = 0;
constexpr int kGetEntries = 1;
constexpr size_t kEntriesBehind = offsetof(ipt_get_entries, entrytable);
constexpr size_t kCountersBehind = offsetof(xt_counters_info, counters);
static_assert(IPT_SO_SET_REPLACE == IPT_BASE_CTL + kSetReplace &&
              ARPT_SO_GET_ENTRIES == ARPT_BASE_CTL + kGetEntries &&
              IP6T_SO_SET_ADD_COUNTERS == IP6T_BASE_CTL + kSetAddCounters);
static_assert(kEntriesBehind == offsetof(ip6t_get_entries, entrytable) &&
              kEntriesBehind == offsetof(arpt_get_entries, entrytable));

const Layout& layout(Family family) {
  return kLayouts.at(static_cast<size_t>(family));
}

template <typename T>
T read(std::string_view data, size_t at) {
  T value{};
  if (at <= data.size() && sizeof value <= data.size() - at) {
    std::memcpy(&value, data.data() + at, sizeof value);
  }
  return value;
}

template <typename T>
void append(std::string& data, const T& value) {
  data.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// A table's name, as it stands in front of everything.
std::string header(std::string_view name) {
  std::string data(name.substr(0, XT_TABLE_MAXNAMELEN - 1));
  data.resize(XT_TABLE_MAXNAMELEN);
  return data;
}

/// A name of a match or target, of at most XT_EXTENSION_MAXNAMELEN bytes.
FilterExtension extension_at(std::string_view part) {
  constexpr size_t kName = offsetof(xt_entry_match, u.user.name);
  std::string name(part.substr(kName, XT_EXTENSION_MAXNAMELEN));
  return {name.substr(0, name.find('\0')), read<uint8_t>(part, offsetof(xt_entry_match, u.user.revision)),
          std::as_bytes(std::span(part.substr(sizeof(xt_entry_match))))};
}

/// Calls `visit` with each entry and where its target lies in it.
void for_each_entry(const Table& table, const std::function<void(std::string_view, size_t)>& visit) {
  const Layout& of = layout(table.family);
  for (std::string_view left = table.entries; !left.empty();) {
    const size_t next = read<uint16_t>(left, of.next_offset);
    const size_t target = read<uint16_t>(left, of.target_offset);
    if (next > left.size() || target < of.entry || target > next || next - target < sizeof(xt_entry_target)) {
      throw error("{} has an entry that ends elsewhere than it says", describe(table));
    }
    visit(left.substr(0, next), target);
    left.remove_prefix(next);
  }
}

class Connection {
 public:
  explicit Connection(const Layout& of)
      : of_(of), socket_(::socket(of.domain, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (!socket_) {
      throw errno_error("cannot make a socket for {}-legacy", of.program);
    }
  }

  /// `data` goes and comes.
  void get(int option, std::string& data) {
    auto size = static_cast<socklen_t>(data.size());
    if (::getsockopt(socket_.get(), of_.level, of_.base + option, data.data(), &size) != 0) {
      throw errno_error("{}-legacy doesn't tell its table {}", of_.program, data.c_str());
    }
  }
  void set(int option, const std::string& data) {
    if (::setsockopt(socket_.get(), of_.level, of_.base + option, data.data(),
                     static_cast<socklen_t>(data.size())) != 0) {
      throw errno_error("{}-legacy doesn't take the table {}", of_.program, data.c_str());
    }
  }

  /// How many entries the table has now is `entries`, and how many bytes they have `size`.
  Table info(std::string_view name, uint32_t& entries, uint32_t& size) {
    std::string data = header(name);
    data.resize(data.size() + (3 + 2 * of_.hooks) * sizeof(uint32_t));
    get(kGetInfo, data);
    size_t at = XT_TABLE_MAXNAMELEN;
    const auto next = [&] {
      at += sizeof(uint32_t);
      return read<uint32_t>(data, at - sizeof(uint32_t));
    };
    Table table{of_.family, std::string(name), next(), {}, {}, {}};
    std::generate_n(std::back_inserter(table.hook_entries), of_.hooks, next);
    std::generate_n(std::back_inserter(table.underflows), of_.hooks, next);
    entries = next();
    size = next();
    return table;
  }

  Table read_table(std::string_view name) {
    constexpr int kMaxTries = 20;
    for (int tries = 1;; ++tries) {
      uint32_t entries = 0;
      uint32_t size = 0;
      Table table = info(name, entries, size);
      std::string data = header(name);
      append(data, size);
      data.resize(kEntriesBehind + size);
      try {
        get(kGetEntries, data);
      } catch (const Error& e) {
        if (e.code() == EAGAIN && tries < kMaxTries) {
          continue;  // somebody has changed it in between
        }
        throw;
      }
      table.entries = data.substr(kEntriesBehind);
      return table;
    }
  }

 private:
  const Layout& of_;
  Fd socket_;
};

/// It accepts everything and has counted nothing: as the kernel makes it.
bool is_empty(const Table& table) {
  const Layout& of = layout(table.family);
  bool empty = true;
  size_t entries = 0;
  size_t hooks = 0;
  for (size_t hook = 0; hook < of.hooks; ++hook) {
    hooks += (table.valid_hooks >> hook) & 1;
  }
  for_each_entry(table, [&](std::string_view entry, size_t target) {
    const auto count = read<xt_counters>(entry, of.counters);
    const std::string_view what = entry.substr(target);
    const bool accepts = extension_at(what).name.empty() &&  // XT_STANDARD_TARGET

                         read<int>(what, offsetof(xt_standard_target, verdict)) == -NF_ACCEPT - 1;
    ++entries;
    empty = empty && count.pcnt == 0 && count.bcnt == 0 && (accepts || entries > hooks);
  });
  return empty && entries == hooks + 1;  // the last one only ends the list
}

}  // namespace

bool is_known(Family family, std::string_view name) {
  const auto& tables = layout(family).tables;
  return !name.empty() && std::ranges::find(tables, name) != tables.end();
}

size_t hooks_of(Family family) {
  return layout(family).hooks;
}

uint32_t count(const Table& table) {
  uint32_t entries = 0;
  for_each_entry(table, [&](std::string_view, size_t) { ++entries; });
  return entries;
}

std::vector<Table> list() {
  std::vector<Table> tables;
  for (const Layout& of : kLayouts) {
    const std::string path = fmt::format("/proc/thread-self/net/{}", of.names);
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      continue;  // the kernel doesn't have them
    }
    const std::string names = read_all(file.get(), path);
    std::vector<Table> found;
    for (size_t at = 0; at < names.size();) {
      const size_t end = std::min(names.find('\n', at), names.size());
      Table table = Connection(of).read_table(std::string_view(names).substr(at, end - at));
      if (!is_empty(table)) {
        found.push_back(std::move(table));
      }
      at = end + 1;
    }
    // Of those in the file the first one is the youngest.
    std::ranges::reverse(found);
    std::ranges::move(found, std::back_inserter(tables));
  }
  return tables;
}

void load(const Table& table) {
  const Layout& of = layout(table.family);
  const uint32_t entries = count(table);
  Connection connection(of);
  uint32_t before = 0;
  uint32_t size = 0;
  static_cast<void>(connection.info(table.name, before, size));
  // The counts of the old entries are to be fetched at the same time.
  std::vector<xt_counters> old(before);
  std::string data = header(table.name);
  append(data, table.valid_hooks);
  append(data, entries);
  append(data, static_cast<uint32_t>(table.entries.size()));
  for (const auto* offsets : {&table.hook_entries, &table.underflows}) {
    for (size_t hook = 0; hook < of.hooks; ++hook) {
      append(data, offsets->at(hook));
    }
  }
  append(data, before);
  append(data, reinterpret_cast<uintptr_t>(old.data()));
  connection.set(kSetReplace, data + table.entries);
  std::string counts = header(table.name);
  append(counts, entries);
  counts.resize(kCountersBehind);
  for_each_entry(
      table, [&](std::string_view entry, size_t) { append(counts, read<xt_counters>(entry, of.counters)); });
  connection.set(kSetAddCounters, counts);
}

void for_each_extension(const Table& table, const std::function<void(const FilterExtension&)>& visit) {
  const Layout& of = layout(table.family);
  for_each_entry(table, [&](std::string_view entry, size_t target) {
    std::string_view matches = entry.substr(of.entry, target - of.entry);
    while (!matches.empty()) {
      const size_t size = read<uint16_t>(matches, offsetof(xt_entry_match, u.match_size));
      if (size < sizeof(xt_entry_match) || size > matches.size()) {
        throw error("{} has a match that ends elsewhere than it says", describe(table));
      }
      visit(extension_at(matches.substr(0, size)));
      matches.remove_prefix(size);
    }
    visit(extension_at(entry.substr(target)));
  });
}

std::string describe(const Table& table) {
  return fmt::format("the table {} of {}-legacy", table.name, layout(table.family).program);
}

}  // namespace godwit::xtables
