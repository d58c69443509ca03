#pragma once

#include <cstdint>
#include <vector>

#include "images-format/page_store.h"
#include "images-format/record.h"

namespace godwit {

/// Checks everything that one record can say wrong, alone or about another: references that lead nowhere,
/// ids used twice, sizes, ranges, overlaps, cycles, blocks outside the payload. After it, readers may follow
/// references and make room for sizes without checking again. Contents of pages are not read.
/// Throws Error that names the record.
void validate(const std::vector<Record>& records, const PayloadSizes& payload_sizes);

}  // namespace godwit
