#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace godwit::netlink {

/// One message of an answer: its type, what follows the netlink header, and the attributes behind `fixed`
/// bytes of that.
struct Message {
  uint16_t type = 0;
  std::span<const std::byte> payload;

  /// The value of an attribute; empty if there is none.
  [[nodiscard]] std::span<const std::byte> attribute(size_t fixed, uint16_t wanted) const;
};

/// Asks for a dump (NLM_F_DUMP) of `type` in the calling thread's network namespace; `request` is the fixed
/// part that such a request has. `visit` sees each message. Throws Error; the kernel's refusal has its
/// errno as code. See netlink(7).
void dump(int protocol, uint16_t type, std::span<const std::byte> request,
          const std::function<void(const Message&)>& visit);

}  // namespace godwit::netlink
