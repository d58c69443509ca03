#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace godwit {

/// By what a checkpoint is known to those that refer to it: whoever has the same name has the same content.
struct CheckpointName {
  std::array<char, 16> uuid{};  // of its header
  uint64_t closing_hash = 0;    // checksum of its closing frame, which covers all of it
  bool operator==(const CheckpointName&) const = default;

  /// `uuid` of another length than 16 is no checkpoint's.
  [[nodiscard]] static CheckpointName of(std::string_view uuid, uint64_t closing_hash) {
    CheckpointName name;
    uuid.copy(name.uuid.data(), name.uuid.size());
    name.closing_hash = closing_hash;
    return name;
  }
};

}  // namespace godwit
