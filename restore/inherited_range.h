#pragma once

#include <cstdint>

#include "images-format/mm.pb.h"

namespace godwit {

/// The part of a child's mapping that it takes over from its parent's by clone: [start, end), empty if none.
struct InheritedRange {
  uint64_t start = 0;
  uint64_t end = 0;
  [[nodiscard]] bool empty() const { return start >= end; }
};

/// What of `mapping`, of a child, comes from the parent's mappings: the overlap with the one that covers its
/// end, or whose end it covers, if both are private and of the same kind.
[[nodiscard]] InheritedRange inherited_range(const image::Mapping& mapping, const image::Mm& parent);

}  // namespace godwit
