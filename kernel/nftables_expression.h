#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/filter_extension.h"
#include "kernel/nftables.h"

namespace godwit::nftables {

/// One expression of a rule, or of a set: "payload", "cmp", "match".
struct Expression {
  std::string name;
  std::span<const std::byte> data;  // attributes, those of the kind
};

/// Of a rule, in order; they point into it.
[[nodiscard]] std::vector<Expression> expressions_of(const Part& rule);

/// Empty: the expression uses none.
[[nodiscard]] std::optional<FilterExtension> extension_of(const Expression& expression);

/// The chain that a rule's expression jumps or goes to; empty: none.
[[nodiscard]] std::string target_of(const Expression& expression);

/// What extensions want to know of the rule that they stand in, and the kernel doesn't tell: for which
/// protocol it is. A nested NFTA_RULE_COMPAT as the kernel wants to hear it; empty: none.
[[nodiscard]] std::vector<std::byte> protocol_for_extensions(const Part& rule);

}  // namespace godwit::nftables
