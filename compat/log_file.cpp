#include "compat/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit::compat {

namespace {

int log_fd = STDERR_FILENO;
uint64_t began_us = 0;

uint64_t now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

std::string_view prefix(log::Level level) {
  switch (level) {
    case log::Level::Error:
      return "Error (godwit): ";
    case log::Level::Warning:
      return "Warn  (godwit): ";
    default:
      return "";
  }
}

void write_line(log::Level level, std::string_view text) {
  const uint64_t us = now_us() - began_us;
  const std::string line =
      fmt::format("({:02}.{:06}) {}{}\n", us / 1'000'000, us % 1'000'000, prefix(level), text);
  if (::write(log_fd, line.data(), line.size()) < 0) {
    return;  // a full disk: there is no better place to say so
  }
}

constexpr int kUsualLevel = 2;

log::Level least(int level) {
  if (level == 0) {
    level = kUsualLevel;
  }
  return level >= 4   ? log::Level::Debug
         : level == 3 ? log::Level::Info
         : level == 2 ? log::Level::Warning
                      : log::Level::Error;
}

}  // namespace

void open_log(const std::string& path, int level) {
  Fd file;
  if (!path.empty()) {
    file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  }
  if (log_fd != STDERR_FILENO) {
    ::close(log_fd);
  }
  log_fd = file ? file.release() : STDERR_FILENO;
  began_us = now_us();
  log::set_sink(write_line, least(level));
}

void log_failure(const std::string& message) {
  log::write(log::Level::Error, message);
}

}  // namespace godwit::compat
