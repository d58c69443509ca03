#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "dump/descriptor_kind.h"
#include "images-format/tty.pb.h"
#include "kernel/error.h"
#include "kernel/procfs.h"

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

/// Of a terminal in a devpts instance of the tree's own, its path there; else empty.
std::string own_path(const Description& description, Context& context) {
  if (!is_own_terminal(description.status.st_rdev)) {
    return context.namespaces.use_terminal(description.status);
  }
  // /dev/tty says which terminal it is, but not of which instance: the session that the task is in does.
  const procfs::Stat stat = procfs::read_stat(description.pid);
  return context.namespaces.terminal_of_session(stat.session);
}

void check(const Description& description, Context& context) {
  if (!own_path(description, context).empty()) {
    if (!context.options.orphan_terminals) {
      throw refusal("{}, a terminal whose other end is outside the tree,", description.name())
          .hint("the runtimes of containers take the new one over when they restore");
    }
    return;
  }
  if (!context.options.shell_job) {
    throw Error(fmt::format("{} is a terminal", description.name()), 0,
                "--shell-job keeps a job with the terminal of its shell");
  }
  const dev_t device = description.status.st_rdev;
  if (!is_own_terminal(device) && device != procfs::read_stat(context.pids.front()).terminal) {
    throw refusal("{}, a terminal other than that of the job,", description.name());
  }
}

void refuse_input(const Description& description, int copy) {
  int waiting = 0;
  if (ioctl(copy, FIONREAD, &waiting) != 0) {
    throw errno_error("cannot ask {} for its input", description.name());
  }
  if (waiting > 0) {
    throw refusal("{}, a terminal with {} bytes of input that wait to be read,", description.name(), waiting);
  }
}

/// The group of the tree that is in the foreground of a shell job's terminal; 0: none of it is.
pid_t foreground_of_job(const Context& context) {
  const pid_t group = procfs::read_stat(context.pids.front()).foreground_group;
  const bool ours = std::any_of(context.pids.begin(), context.pids.end(),
                                [&](pid_t pid) { return ::getpgid(pid) == group; });
  return ours ? group : 0;
}

void collect(std::span<const Description* const> descriptions, Context& context) {
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
    record->set_own_path(own_path(*description, context));
    if (record->own_path().empty()) {
      record->set_foreground_group(foreground_of_job(context));
    } else {
      refuse_input(*description, copy.get());
    }
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kTty{"terminal", matches, check, collect,
                          "the terminal of a shell job (--shell-job), which is that of the restore; a "
                          "container's console, whose master is outside"};

}  // namespace godwit::collecting
