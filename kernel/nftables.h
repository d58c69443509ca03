#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The nftables ruleset of a network namespace, that of the calling thread. As with rtnetlink the kernel
/// tells each part in the words in which it wants to hear it; what `iptables-nft` and the like have made is
/// among it. See nft(8).
namespace godwit::nftables {

/// A table, chain, set, object, flowtable, rule, or elements of a set.
struct Part {
  uint16_t type = 0;    // NFT_MSG_NEWTABLE and the like, without the subsystem
  std::string payload;  // nfgenmsg and attributes
};

/// Whether parts are of such a type.
[[nodiscard]] bool is_part(uint32_t type);

/// All of it, in an order in which it can be loaded: nothing that only the kernel says. Empty where there is
/// none, or no nftables. Throws Error.
[[nodiscard]] std::vector<Part> list();

/// Adds all of it to what is there, or nothing. Throws Error that names the part.
void load(std::span<const Part> parts);

/// A part in words: "chain input of table inet filter".
[[nodiscard]] std::string describe(const Part& part);

}  // namespace godwit::nftables
