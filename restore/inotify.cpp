#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "images-format/inotify.pb.h"
#include "kernel/error.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::Inotify&>(message);
  const Slot made = context.script.call_to_slot("make an inotify", SYS_inotify_init1,
                                                {IN_CLOEXEC | (record.open_file().flags() & O_NONBLOCK)});
  context.deliver(record.open_file(), made);
}

/// The kernel counts numbers up; those that the image skips are used and given back.
void add_watch(const image::InotifyWatch& watch, const ConcludeContext& context) {
  const Fd file = context.open_file(watch.file_id());
  const std::string path = fmt::format("/proc/self/fd/{}", file.get());
  for (;;) {
    const int number = ::inotify_add_watch(context.descriptor, path.c_str(), watch.mask());
    if (number < 0) {
      throw errno_error("cannot add watch {}", watch.number());
    }
    if (number == watch.number()) {
      return;
    }
    if (number > watch.number() || ::inotify_rm_watch(context.descriptor, number) != 0) {
      throw error("watch {} can't have its number: the kernel gives {}", watch.number(), number);
    }
  }
}

/// What the restore itself has caused: numbers that were given back, files that were opened.
void drain(int descriptor) {
  std::array<char, 65536> events{};
  int waiting = 0;
  while (::ioctl(descriptor, FIONREAD, &waiting) == 0 && waiting > 0) {
    if (::read(descriptor, events.data(), events.size()) < 0) {
      throw errno_error("cannot read events");
    }
  }
}

/// At last: whatever happens to a watched file before would be an event.
void conclude(const google::protobuf::Message& message, const ConcludeContext& context) {
  const auto& record = static_cast<const image::Inotify&>(message);
  for (const image::InotifyWatch& watch : record.watches()) {
    add_watch(watch, context);
  }
  drain(context.descriptor);
}

}  // namespace

constinit const Kind kInotify{
    RecordType::Inotify, "inotify", single_open_file<image::Inotify>, make, nullptr, conclude};

}  // namespace godwit::making
