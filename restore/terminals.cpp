#include "restore/terminals.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "kernel/error.h"

namespace godwit {

namespace {

void check(int result, const char* doing, uint32_t index) {
  if (result != 0) {
    throw errno_error("cannot {} of terminal {}", doing, index);
  }
}

/// A new terminal of the instance gets the lowest free number.
Fd open_master(int mount, uint32_t index, std::vector<Fd>& others) {
  for (;;) {
    Fd master = open_at(mount, "ptmx", O_RDWR | O_NOCTTY);
    uint32_t number = 0;
    check(::ioctl(master.get(), TIOCGPTN, &number), "ask for the number", index);
    if (number == index) {
      return master;
    }
    if (number > index) {
      throw error("terminal {} of the instance is taken", index);
    }
    others.push_back(std::move(master));
  }
}

void emit_with_terminal(ScriptBuilder& script, const image::ControllingTerminal& terminal, const char* doing,
                        unsigned long request, Arg argument) {
  const Slot opened =
      script.call_to_slot("open its terminal", SYS_openat,
                          {AT_FDCWD, script.string(terminal.path()), O_RDWR | O_NOCTTY | O_CLOEXEC});
  script.call(doing, SYS_ioctl, {opened, request, argument});
  script.call("close its terminal", SYS_close, {opened});
  script.release(opened);
}

}  // namespace

Terminals::Terminals(const CheckpointImage& image) {
  for (const auto* instance : image.all<image::Superblock>()) {
    for (const image::Terminal& record : instance->terminals()) {
      // Something has to be there for the number to be ours.
      terminals_.push_back({instance, &record, open_file("/dev/null", O_RDWR)});
    }
  }
}

bool Terminals::any_used() const {
  return std::ranges::any_of(terminals_, [](const Terminal& terminal) { return terminal.record->used(); });
}

void Terminals::make(int mount, const image::Superblock& instance) const {
  std::vector<Fd> others;  // keep the numbers below from being given again
  for (const Terminal& terminal : terminals_) {
    if (terminal.instance != &instance) {
      continue;
    }
    const image::Terminal& record = *terminal.record;
    const Fd master = open_master(mount, record.index(), others);
    const int unlocked = 0;
    check(::ioctl(master.get(), TIOCSPTLCK, &unlocked), "unlock the slave", record.index());
    const std::string name = std::to_string(record.index());
    check(::fchownat(mount, name.c_str(), record.uid(), record.gid(), AT_SYMLINK_NOFOLLOW), "set the owner",
          record.index());
    check(::fchmodat(mount, name.c_str(), record.mode(), 0), "set the mode", record.index());
    if (::dup3(master.get(), terminal.master.get(), O_CLOEXEC) < 0) {
      throw errno_error("cannot keep the master of terminal {}", record.index());
    }
  }
}

void Terminals::hand_over(const std::function<void(int master)>& take) const {
  for (const Terminal& terminal : terminals_) {
    take(terminal.master.get());
  }
}

void emit_control_by_terminal(ScriptBuilder& script, const image::ControllingTerminal& terminal) {
  emit_with_terminal(script, terminal, "make its terminal control the session", TIOCSCTTY, 0);
}

void emit_foreground_group(ScriptBuilder& script, const image::ControllingTerminal& terminal, pid_t group) {
  emit_with_terminal(script, terminal, "bring a process group to the foreground", TIOCSPGRP,
                     script.object(group));
}

}  // namespace godwit
