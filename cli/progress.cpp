#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>

#include "kernel/clock.h"
#include "kernel/error.h"
#include "program/output.h"

namespace godwit::cli {

namespace {

constexpr uint64_t kFirstDrawNs = 300'000'000;
constexpr uint64_t kRedrawNs = 100'000'000;
bool drawn = false;

}  // namespace

ProgressLine::ProgressLine(std::string_view command)
    : command_(command),
      terminal_(::isatty(STDERR_FILENO) != 0),
      next_draw_ns_(monotonic_ns() + kFirstDrawNs) {}

void ProgressLine::update(std::string_view stage, uint64_t bytes, uint64_t total_bytes, uint64_t tasks) {
  if (!terminal_) {
    return;
  }
  const uint64_t now = monotonic_ns();
  if (now < next_draw_ns_) {
    return;
  }
  next_draw_ns_ = now + kRedrawNs;
  std::string line = fmt::format("\r\033[K{}: {}", command_, stage);
  if (total_bytes != 0) {
    line += fmt::format(" {} of {} ({} %)", format_bytes(bytes), format_bytes(total_bytes),
                        std::min<uint64_t>(bytes / std::max<uint64_t>(total_bytes / 100, 1), 100));
  } else if (bytes != 0) {
    line += " " + format_bytes(bytes);
  }
  if (tasks != 0) {
    line += ", " + format_count(tasks, "task");
  }
  print_err(line);
  drawn = true;
}

void ProgressLine::clear() {
  if (drawn) {
    print_err("\r\033[K");
    drawn = false;
  }
}

}  // namespace godwit::cli
