#pragma once

#include "images-format/net.pb.h"
#include "kernel/xtables.h"

namespace godwit {

/// A table as its record says, which has been validated as far as the family.
[[nodiscard]] xtables::Table legacy_filter(const image::LegacyFilterTable& record);

}  // namespace godwit
