#pragma once

#include "kernel/features.h"

namespace godwit {

/// Tries the feature. No caching, no hiding: see features.h. Doesn't throw; doubt counts as absent.
[[nodiscard]] bool probe(Feature feature);

}  // namespace godwit
