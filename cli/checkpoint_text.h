#pragma once

#include <string>
#include <string_view>

#include "images-format/checkpoint_reader.h"

namespace godwit::cli {

/// The checkpoint for people. `what`: only records of this kind (image::RecordKind's name); empty: all.
/// Throws UsageError for a kind that doesn't exist.
[[nodiscard]] std::string checkpoint_text(const CheckpointImage& image, std::string_view what);
/// The same for programs: an object with one array a kind.
[[nodiscard]] std::string checkpoint_json(const CheckpointImage& image, std::string_view what);

}  // namespace godwit::cli
