#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/netlink.h"

/// As much of nf_tables as godwit uses: tables of the family inet with chains, sets and rules. See nft(8) and
/// linux/netfilter/nf_tables.h.
namespace godwit::nftables {

/// A connection to nf_tables of the calling thread's network namespace. Throws Error.
[[nodiscard]] netlink::Connection connect();

/// The expressions of a rule, in the order in which a packet meets them. One that doesn't match ends the
/// rule.
class Rule {
 public:
  /// IPv4 (AF_INET) or IPv6 (AF_INET6) packets.
  Rule& of_family(uint8_t family);
  /// Packets of a transport protocol (IPPROTO_TCP).
  Rule& of_protocol(uint8_t protocol);
  Rule& with_mark(uint32_t mark);
  /// Loads bytes of the network header to where the key for `in_set` is put together.
  Rule& load_network(uint32_t offset, uint32_t length) { return load(kNetworkHeader, offset, length); }
  /// Likewise of the transport header.
  Rule& load_transport(uint32_t offset, uint32_t length) { return load(kTransportHeader, offset, length); }
  /// What has been loaded is an element of the table's set.
  Rule& in_set(std::string_view set);
  Rule& drop() { return verdict(0); }    // NF_DROP
  Rule& accept() { return verdict(1); }  // NF_ACCEPT

  using Expression = std::function<void(netlink::Request&)>;
  struct Named {
    std::string name;
    Expression data;
  };
  [[nodiscard]] const std::vector<Named>& expressions() const { return expressions_; }

 private:
  static constexpr uint32_t kNetworkHeader = 1;    // NFT_PAYLOAD_NETWORK_HEADER
  static constexpr uint32_t kTransportHeader = 2;  // NFT_PAYLOAD_TRANSPORT_HEADER

  Rule& load(uint32_t header, uint32_t offset, uint32_t length);
  Rule& meta_is(uint32_t key, std::span<const std::byte> value);
  Rule& verdict(uint32_t code);

  std::vector<Named> expressions_;
  uint32_t next_register_ = 0;  // counted in words of 32 bits
};

struct Element {
  std::vector<std::byte> key;
  std::string comment;  // shown by nft(8); at most 100 bytes
};

/// A chain at a netfilter hook.
struct Chain {
  std::string_view name;
  uint32_t hook;     // NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT
  int32_t priority;  // packets meet chains with low ones first
};

/// Changes that are made together or not at all.
class Batch {
 public:
  /// `owned`: the table goes when the connection that made it is closed (NFT_TABLE_F_OWNER).
  Batch& add_table(std::string_view table, bool owned);
  Batch& delete_table(std::string_view table);
  Batch& add_chain(std::string_view table, const Chain& chain);
  /// `key_type`: how nft(8) shows elements.
  Batch& add_set(std::string_view table, std::string_view set, uint32_t key_type, uint32_t key_bytes);
  Batch& add_rule(std::string_view table, std::string_view chain, const Rule& rule);
  Batch& add_elements(std::string_view table, std::string_view set, std::span<const Element> elements);
  /// Fails with ENOENT if one isn't there.
  Batch& delete_elements(std::string_view table, std::string_view set, std::span<const Element> elements);
  /// The batch fails with ERESTART unless nothing has changed since `generation` was asked for.
  Batch& since(uint32_t generation);

  /// Throws Error with the first refusal's errno as code.
  void run(netlink::Connection& connection) const;

 private:
  Batch& change_elements(uint16_t type, uint16_t flags, std::string_view table, std::string_view set,
                         std::span<const Element> elements);

  std::vector<netlink::Request> requests_;
  uint32_t generation_ = 0;  // 0: any
  uint32_t sets_ = 0;
};

/// Counts all changes of the namespace's tables; never 0.
[[nodiscard]] uint32_t generation(netlink::Connection& connection);
/// Names of the tables of the family inet.
[[nodiscard]] std::vector<std::string> tables(netlink::Connection& connection);
/// Throws Error, with ENOENT as code if there is no such set.
[[nodiscard]] std::vector<Element> elements(netlink::Connection& connection, std::string_view table,
                                            std::string_view set);

}  // namespace godwit::nftables
