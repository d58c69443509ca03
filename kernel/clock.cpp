#include "kernel/clock.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

constexpr int64_t kBillion = 1'000'000'000;

/// A line "monotonic   -3   500000000": the seconds round down.
int64_t offset_in(std::string_view text, std::string_view clock) {
  const size_t line = text.find(clock);
  std::string_view rest = text.substr(line == std::string_view::npos ? text.size() : line + clock.size());
  const auto number = [&] {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    int64_t value = 0;
    const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (code != std::errc{}) {
      throw error("/proc/PID/timens_offsets says nothing of clock {}", clock);
    }
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return value;
  };
  const int64_t seconds = number();
  return seconds * kBillion + number();
}

std::string offset_line(std::string_view clock, int64_t offset) {
  const int64_t rest = offset % kBillion;
  return rest < 0 ? fmt::format("{} {} {}\n", clock, offset / kBillion - 1, rest + kBillion)
                  : fmt::format("{} {} {}\n", clock, offset / kBillion, rest);
}

}  // namespace

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  if (::clock_gettime(clock, &now) != 0) {
    throw errno_error("cannot read clock {}", clock);
  }
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

int64_t ClockOffsets::of(clockid_t clock) const {
  switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
      return monotonic_ns;
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return boottime_ns;
    default:
      return 0;
  }
}

ClockOffsets read_clock_offsets(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/timens_offsets", pid);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT) {
      return {};
    }
    throw errno_error("cannot open {}", path);
  }
  const std::string text = read_all(file.get(), path);
  return {offset_in(text, "monotonic"), offset_in(text, "boottime")};
}

std::string clock_offsets_text(const ClockOffsets& offsets) {
  return offset_line("monotonic", offsets.monotonic_ns) + offset_line("boottime", offsets.boottime_ns);
}

}  // namespace godwit
