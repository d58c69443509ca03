#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <span>

#include "images-format/tty.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

constexpr std::string_view kOwnTerminal = "/dev/tty";

/// The terminal of whoever restores: what its standard descriptors lead to.
std::string our_terminal() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::isatty(fd) != 0) {
      return read_link(fmt::format("/proc/self/fd/{}", fd));
    }
  }
  return std::string(kOwnTerminal);
}

/// Scripts that run in this process have no terminal of the tree's session.
std::string path_of(const image::Tty& record, const MakeContext& context) {
  if (record.own_path().empty()) {
    return record.path() == kOwnTerminal ? record.path() : our_terminal();
  }
  return record.path() == kOwnTerminal && context.runs_in_this_process() ? record.own_path() : record.path();
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::Tty&>(message);
  ScriptBuilder& script = context.script;
  const Slot terminal = script.call_to_slot(
      "open the terminal", SYS_openat,
      {AT_FDCWD, script.string(path_of(record, context)), record.open_file().flags() | O_NOCTTY | O_CLOEXEC});
  context.deliver(record.open_file(), terminal);
}

void finish(const google::protobuf::Message& message, FinishContext& context) {
  const auto& record = static_cast<const image::Tty&>(message);
  const uint32_t id = record.open_file().id();
  if (!context.is_first_with({id})) {
    return;
  }
  ScriptBuilder& script = context.script;
  const int terminal = context.number_of(id);
  const auto set = [&](const char* doing, unsigned long request, const std::string& value) {
    if (!value.empty()) {
      script.call(doing, SYS_ioctl, {terminal, request, script.bytes(std::as_bytes(std::span(value)))});
    }
  };
  set("set the terminal's modes", TCSETS2, record.termios());
  set("set the terminal's size", TIOCSWINSZ, record.window_size());
}

/// From the background this would stop us if we had not blocked SIGTTOU: tcsetpgrp(3).
void conclude(const google::protobuf::Message& message, const ConcludeContext& context) {
  const auto& record = static_cast<const image::Tty&>(message);
  const pid_t group = record.foreground_group() == 0 ? 0 : context.pid_now(record.foreground_group());
  if (group != 0 && ::ioctl(context.descriptor, TIOCSPGRP, &group) != 0) {
    throw errno_error("cannot bring process group {} to the foreground", group);
  }
}

bool concludes(const google::protobuf::Message& message) {
  return static_cast<const image::Tty&>(message).foreground_group() != 0;
}

}  // namespace

constinit const Kind kTty{RecordType::Tty, "terminal", single_open_file<image::Tty>, make, finish,
                          conclude,        concludes};

}  // namespace godwit::making
