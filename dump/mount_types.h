#pragma once

#include <string_view>

namespace godwit {

/// What a file system holds that an image must keep when it is made anew.
enum class MountContent {
  Kernels,    // what the kernel shows; the same wherever it is mounted
  Files,      // all of them are kept
  Terminals,  // of a devpts
  Refused,    // it must be empty
};

/// A type of file system that is made anew: empty when new, or filled again.
struct MountType {
  std::string_view name;
  MountContent content;
  std::string_view words;  // for docs/support-table.md
};

/// Null: it can't be made anew.
[[nodiscard]] const MountType* find_made_type(std::string_view name);

}  // namespace godwit
