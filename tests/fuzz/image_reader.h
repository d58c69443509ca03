#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace godwit {

/// The frames of the sample checkpoint, to mutate.
[[nodiscard]] std::vector<std::byte> sample_frames();

/// Reads `frames` as a checkpoint over the sample's pages, first as they are, then with the checksums of all
/// frames and the closing frame made right, so that what is inside the frames is reached too. Returns whether
/// the second was accepted; then all its pages have been looked at. Whatever isn't an Error leaves.
bool read_hostile_image(std::span<const std::byte> frames);

}  // namespace godwit
