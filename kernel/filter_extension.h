#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace godwit {

/// A match or target of x_tables that a rule uses. See iptables-extensions(8).
struct FilterExtension {
  std::string name;  // "tcp", "MASQUERADE"
  uint8_t revision = 0;
  std::span<const std::byte> settings;  // in its own layout; they lie in the rule
};

}  // namespace godwit
