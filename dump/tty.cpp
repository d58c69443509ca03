#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "dump/descriptor_kind.h"
#include "images-format/tty.pb.h"
#include "kernel/error.h"

extern "C" int ioctl(int fd, unsigned long request,
                     ...) noexcept;  // <sys/ioctl.h> contradicts asm/termbits.h

namespace godwit::collecting {

namespace {

struct WindowSize {  // struct winsize, ioctl_tty(2)
  uint16_t rows, columns, width, height;
};

// Documentation/admin-guide/devices.txt
constexpr unsigned kConsoles = 4;
constexpr unsigned kOwnTerminal = 5;  // /dev/tty, /dev/console, /dev/ptmx
constexpr unsigned kFirstPts = 136;
constexpr unsigned kLastPts = 143;

bool is_own_terminal(dev_t device) {
  return device == makedev(kOwnTerminal, 0);
}

bool is_terminal(const struct stat& status) {
  const unsigned kind = major(status.st_rdev);
  return S_ISCHR(status.st_mode) &&
         (kind == kConsoles || is_own_terminal(status.st_rdev) || (kind >= kFirstPts && kind <= kLastPts));
}

bool matches(const Description& description) {
  return description.has_path() && (description.info.flags & O_PATH) == 0 && is_terminal(description.status);
}

/// What /proc/PID/stat says of a task's terminal: proc(5), fields 7 and 8.
struct Terminal {
  dev_t device = 0;
  pid_t foreground = 0;
};

Terminal terminal_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  const std::string text = read_file(path);
  std::string_view rest = text;
  rest.remove_prefix(std::min(rest.rfind(')'), rest.size()));
  std::array<std::string_view, 7>
      words;  // ")", state, parent, group, session, terminal, its foreground group
  for (std::string_view& word : words) {
    const size_t end = std::min(rest.find(' '), rest.size());
    word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const auto number = parse_number<uint32_t>(words[5], 10, path);
  // Minor bits 31-20 and 7-0, major bits 15-8.
  return {makedev(number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00)),
          parse_number<int32_t>(words[6], 10, path)};
}

void check(const Description& description, Context& context) {
  if (!context.options.shell_job) {
    throw Error(fmt::format("{} is a terminal", description.name()), 0,
                "--shell-job keeps a job with the terminal of its shell");
  }
  const dev_t device = description.status.st_rdev;
  if (!is_own_terminal(device) && device != terminal_of(context.pids.front()).device) {
    throw refusal("{}, a terminal other than that of the job,", description.name());
  }
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  const Terminal terminal = terminal_of(context.pids.front());
  const bool ours = std::any_of(context.pids.begin(), context.pids.end(),
                                [&](pid_t pid) { return ::getpgid(pid) == terminal.foreground; });
  for (const Description* description : descriptions) {
    const Fd copy = context.copy(*description);
    termios2 settings{};
    WindowSize size{};
    if (ioctl(copy.get(), TCGETS2, &settings) != 0 || ioctl(copy.get(), TIOCGWINSZ, &size) != 0) {
      throw errno_error("cannot ask {} for its settings", description->name());
    }
    auto record = std::make_unique<image::Tty>();
    description->fill(*record->mutable_open_file());
    record->set_path(description->link);
    record->set_termios(&settings, sizeof settings);
    record->set_window_size(&size, sizeof size);
    record->set_foreground_group(ours ? terminal.foreground : 0);
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kTty{"terminal", matches, check, collect};

}  // namespace godwit::collecting
