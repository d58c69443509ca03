#include "kernel/tcp_lock.h"

#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <set>

#include "kernel/error.h"
#include "kernel/nftables_table.h"

namespace godwit {

namespace {

using nftables::Batch;
using nftables::Element;
using nftables::Rule;

constexpr uint32_t kPortBytes = 2;
constexpr uint32_t kPaddedPortBytes = 4;  // each part of a key fills whole words
constexpr size_t kElementsAtOnce = 400;   // fit into one netlink attribute, with comments
constexpr int kPatience = 1000;           // attempts against others that change tables all the time

constexpr uint32_t kLocalIn = 1;  // NF_INET_LOCAL_IN, whose header quarrels with netinet/in.h
constexpr uint32_t kLocalOut = 3;

/// Where packets have the addresses that sockets know: after NAT has been undone, and before it is done.
constexpr nftables::Chain kInput{"input", kLocalIn, 200};
constexpr nftables::Chain kOutput{"output", kLocalOut, -300};

/// One of the two sets of a table.
struct Family {
  sa_family_t family;
  std::string_view set;
  uint32_t source;       // where the source address stands in the header,
  uint32_t destination;  // and the destination
  uint32_t address_bytes;
  uint32_t type;  // nft(8)'s number for its addresses

  [[nodiscard]] uint32_t key_bytes() const { return 2 * (address_bytes + kPaddedPortBytes); }
  /// For nft(8): types of a key's parts, six bits each.
  [[nodiscard]] uint32_t key_type() const {
    constexpr uint32_t kPortType = 13;
    uint32_t all = 0;
    for (const uint32_t part : {type, kPortType, type, kPortType}) {
      all = all << 6 | part;
    }
    return all;
  }
};
constexpr Family kFour{AF_INET, "connections", 12, 16, 4, 7};
constexpr Family kSix{AF_INET6, "connections6", 8, 24, 16, 8};

/// Local address and port, then remote ones.
std::vector<std::byte> key_of(const TcpTuple& tuple) {
  std::vector<std::byte> key;
  const auto add = [&](const void* what, size_t size, size_t padded) {
    const auto* bytes = static_cast<const std::byte*>(what);
    key.insert(key.end(), bytes, bytes + size);
    key.resize(key.size() + padded - size);
  };
  const size_t size = tuple.address_size();
  add(tuple.local.data(), size, size);
  add(&tuple.local_port, kPortBytes, kPaddedPortBytes);
  add(tuple.remote.data(), size, size);
  add(&tuple.remote_port, kPortBytes, kPaddedPortBytes);
  return key;
}

TcpTuple tuple_of(const Family& family, const std::vector<std::byte>& key) {
  TcpTuple tuple;
  tuple.family = family.family;
  if (key.size() != family.key_bytes()) {
    throw error("set {} has a key of {} bytes", family.set, key.size());
  }
  const std::byte* at = key.data();
  std::memcpy(tuple.local.data(), at, family.address_bytes);
  std::memcpy(&tuple.local_port, at + family.address_bytes, kPortBytes);
  at += family.address_bytes + kPaddedPortBytes;
  std::memcpy(tuple.remote.data(), at, family.address_bytes);
  std::memcpy(&tuple.remote_port, at + family.address_bytes, kPortBytes);
  return tuple;
}

Rule dropping(const Family& family, bool outgoing) {
  const uint32_t local = outgoing ? family.source : family.destination;
  const uint32_t remote = outgoing ? family.destination : family.source;
  constexpr uint32_t kSourcePort = 0;
  constexpr uint32_t kDestinationPort = 2;
  Rule rule;
  rule.of_family(static_cast<uint8_t>(family.family))
      .of_protocol(IPPROTO_TCP)
      .load_network(local, family.address_bytes)
      .load_transport(outgoing ? kSourcePort : kDestinationPort, kPortBytes)
      .load_network(remote, family.address_bytes)
      .load_transport(outgoing ? kDestinationPort : kSourcePort, kPortBytes)
      .in_set(family.set)
      .drop();
  return rule;
}

void add_table(Batch& batch, std::string_view table, bool owned) {
  batch.add_table(table, owned);
  for (const Family& family : {kFour, kSix}) {
    batch.add_set(table, family.set, family.key_type(), family.key_bytes());
  }
  for (const nftables::Chain& chain : {kInput, kOutput}) {
    batch.add_chain(table, chain);
    batch.add_rule(table, chain.name, Rule().with_mark(kPassingMark).accept());
    for (const Family& family : {kFour, kSix}) {
      batch.add_rule(table, chain.name, dropping(family, chain.hook == kLocalOut));
    }
  }
}

/// Calls `visit` with the elements of each set, some at a time.
template <typename Visit>
void for_some(std::span<const TcpTuple> connections, const std::string& comment, Visit&& visit) {
  for (const Family& family : {kFour, kSix}) {
    std::vector<Element> elements;
    for (const TcpTuple& tuple : connections) {
      if (tuple.family == family.family) {
        elements.push_back({key_of(tuple), comment});
      }
    }
    for (size_t at = 0; at < elements.size(); at += kElementsAtOnce) {
      visit(family, std::span(elements).subspan(at, std::min(kElementsAtOnce, elements.size() - at)));
    }
  }
}

[[noreturn]] void fail(const Error& e) {
  throw Error(fmt::format("cannot lock connections by nf_tables: {}", e.what()), 0,
              "--network-lock skip does without");
}

/// Decides on changes by what is there, and makes them unless it has changed meanwhile.
template <typename Change>
void change_atomically(netlink::Connection& connection, Change&& change) {
  for (int attempt = 0;; ++attempt) {
    const uint32_t generation = nftables::generation(connection);
    Batch batch;
    if (!change(batch)) {
      return;
    }
    try {
      batch.since(generation).run(connection);
      return;
    } catch (const Error& e) {
      if (e.code() != ERESTART || attempt == kPatience) {
        throw;
      }
    }
  }
}

bool has_table(netlink::Connection& connection, std::string_view table) {
  const std::vector<std::string> tables = nftables::tables(connection);
  return std::find(tables.begin(), tables.end(), table) != tables.end();
}

}  // namespace

TcpLock::TcpLock()
    : connection_(nftables::connect()),
      table_(fmt::format("godwit-{}-{:08x}", ::getpid(), std::random_device()())) {
  try {
    Batch batch;
    add_table(batch, table_, true);
    batch.run(connection_);
  } catch (const Error& e) {
    fail(e);
  }
}

TcpLock::~TcpLock() {
  try {
    Batch().delete_table(table_).run(connection_);
  } catch (const Error&) {
    // It goes with the connection.
  }
}

void TcpLock::add(std::span<const TcpTuple> connections) {
  try {
    for_some(connections, {}, [&](const Family& family, std::span<const Element> elements) {
      Batch().add_elements(table_, family.set, elements).run(connection_);
    });
  } catch (const Error& e) {
    fail(e);
  }
}

KeptTcpLocks::KeptTcpLocks() : connection_(nftables::connect()) {}

void KeptTcpLocks::add(std::span<const TcpTuple> connections, const std::string& comment) {
  try {
    for_some(connections, comment, [&](const Family& family, std::span<const Element> elements) {
      change_atomically(connection_, [&](Batch& batch) {
        if (!has_table(connection_, kTable)) {
          add_table(batch, kTable, false);
        }
        batch.add_elements(kTable, family.set, elements);
        return true;
      });
    });
  } catch (const Error& e) {
    fail(e);
  }
}

void KeptTcpLocks::remove(std::span<const TcpTuple> connections) {
  const std::set<TcpTuple> unwanted(connections.begin(), connections.end());
  change_atomically(connection_, [&](Batch& batch) {
    std::vector<TcpTuple> found;
    const std::vector<Entry> all = list();
    for (const Entry& entry : all) {
      if (unwanted.contains(entry.connection)) {
        found.push_back(entry.connection);
      }
    }
    if (found.size() == all.size() && !all.empty()) {
      batch.delete_table(kTable);
      return true;
    }
    for_some(found, {}, [&](const Family& family, std::span<const Element> elements) {
      batch.delete_elements(kTable, family.set, elements);
    });
    return !found.empty();
  });
}

std::vector<KeptTcpLocks::Entry> KeptTcpLocks::list() {
  std::vector<Entry> entries;
  for (const Family& family : {kFour, kSix}) {
    try {
      for (const Element& element : nftables::elements(connection_, kTable, family.set)) {
        entries.push_back({tuple_of(family, element.key), element.comment});
      }
    } catch (const Error& e) {
      // No such table; or no nf_tables at all.
      if (e.code() != ENOENT && e.code() != EOPNOTSUPP && e.code() != EINVAL) {
        throw;
      }
    }
  }
  return entries;
}

}  // namespace godwit
