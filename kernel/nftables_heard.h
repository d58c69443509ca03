#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace godwit::nftables {

/// The value of an attribute of a part as the kernel wants to hear it: nearly always what it told. `type`:
/// NFT_MSG_NEWRULE and the like. `object`: of an object's attributes, what kind of object it is
/// (NFT_OBJECT_QUOTA). Elements of sets that are just about to expire are left out.
[[nodiscard]] std::vector<std::byte> as_heard(uint16_t type, uint16_t attribute,
                                              std::span<const std::byte> value, uint32_t object);

}  // namespace godwit::nftables
