#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "images-format/checkpoint_reader.h"

namespace godwit::cli {

/// What each open file description of a checkpoint is, for people: "pipe, read end, 7 B waiting".
/// By the description's id.
[[nodiscard]] std::map<uint32_t, std::string> open_file_texts(const CheckpointImage& image);

}  // namespace godwit::cli
