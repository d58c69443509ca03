#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

/// Log lines from all rooms. Where they go is set once by the program (cli/); a library user who sets
/// nothing gets nothing.
namespace godwit::log {

enum class Level { Debug, Info, Warning, Error };

using Sink = void (*)(Level level, std::string_view line);

/// `sink` gets lines of `least` and above; null: none. Not thread-safe: before any other thread exists.
void set_sink(Sink sink, Level least);
[[nodiscard]] bool enabled(Level level);
void write(Level level, std::string_view line);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::Debug)) {
    write(Level::Debug, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::Info)) {
    write(Level::Info, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::Warning)) {
    write(Level::Warning, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace godwit::log
