#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace godwit {

/// Writes to stdout. Throws Error (a full disk, a closed pipe).
void print_out(std::string_view text);
/// Writes to stderr in one piece; what can't be written is lost.
void print_err(std::string_view text);

/// "34.5 MB": powers of 1000, three digits.
[[nodiscard]] std::string format_bytes(uint64_t bytes);
/// "3.4 ms".
[[nodiscard]] std::string format_duration(uint64_t nanoseconds);
/// "1 task", "3 tasks".
[[nodiscard]] std::string format_count(uint64_t count, std::string_view noun);
/// A JSON string with its quotes. Bytes that aren't UTF-8 become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace godwit
