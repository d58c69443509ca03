#pragma once

#include <optional>

#include "dump/dump.h"
#include "images-format/checkpoint_reader.h"

namespace godwit {

/// The checkpoint that `options.parent` names, with its own parents. Nothing: it names none. Throws Error.
[[nodiscard]] std::optional<CheckpointImage> open_parent(const DumpOptions& options);

/// What a header says of its parent; `path` is DumpOptions::parent.
void describe_parent(const CheckpointImage& parent, const std::string& path, image::Checkpoint& header);

}  // namespace godwit
