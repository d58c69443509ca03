#include "program/output.h"

#include <unistd.h>

#include <array>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

/// Three digits of `value` with the unit that suits it.
template <size_t N>
std::string scaled(uint64_t value, const std::array<std::string_view, N>& units) {
  auto number = static_cast<double>(value);
  size_t unit = 0;
  // 999.5 would be printed as 1000.
  while (number >= 999.5 && unit + 1 < N) {
    number /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", number, decimals, units[unit]);
}

/// Length of the UTF-8 sequence at the start of `text`; 0 if there is none. No surrogates, no overlong forms.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return follows(1, 0x80, 0xbf) ? 2 : 0;
  }
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) && follows(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

}  // namespace

void print_out(std::string_view text) {
  write_all(STDOUT_FILENO, std::as_bytes(std::span(text.data(), text.size())), "standard output");
}

void print_err(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) {
    return;  // there is nobody left to tell
  }
}

std::string format_bytes(uint64_t bytes) {
  return scaled(bytes, std::array<std::string_view, 6>{"bytes", "kB", "MB", "GB", "TB", "PB"});
}

std::string format_duration(uint64_t nanoseconds) {
  return scaled(nanoseconds, std::array<std::string_view, 4>{"ns", "µs", "ms", "s"});
}

std::string format_count(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const char c = text.front();
    size_t length = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else if ((length = utf8_length(text)) == 0) {
      out += "\\ufffd";
      length = 1;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out += '"';
}

}  // namespace godwit
