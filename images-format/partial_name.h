#pragma once

#include <string>
#include <string_view>

namespace godwit {

/// Where a checkpoint will be.
struct FinalName {
  std::string parent;  // path of the directory that it is in
  std::string name;    // in it
};

/// Links and dots are resolved where the path exists: "." has no name that a rename could give.
/// Throws Error for what can't be the name of a checkpoint.
[[nodiscard]] FinalName final_name(const std::string& path);

/// A name for what is being written beside `name`: `NAME.partial-XXXXXX`, another at each call. Throws Error.
[[nodiscard]] std::string make_partial_name(const std::string& name);
/// `entry` is one that a writer of `name` made up, and is nobody else's.
[[nodiscard]] bool is_partial_name(std::string_view entry, const std::string& name);
/// Six letters and digits. Throws Error.
[[nodiscard]] std::string random_suffix();

/// The open file or directory has no name any more.
[[nodiscard]] bool is_gone(int fd);

}  // namespace godwit
