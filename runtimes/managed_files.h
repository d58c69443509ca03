#pragma once

#include <array>

namespace godwit::runtimes {

/// What a checkpoint of Podman's has beside the directory with the images: the content of /dev/shm, which is
/// lost when the container ends, and the addresses that it is to have again. Each may be missing.
inline constexpr std::array kPodmansFiles{"devshm-checkpoint.tar", "network.status"};
/// The directory with the images.
inline constexpr const char* kPodmansImages = "checkpoint";

}  // namespace godwit::runtimes
