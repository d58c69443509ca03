#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include <climits>

#include "images-format/eventfd.pb.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::EventFd&>(message);
  ScriptBuilder& script = context.script;
  const uint32_t flags = (record.open_file().flags() & O_NONBLOCK) | O_CLOEXEC |
                         (record.semaphore() ? static_cast<uint32_t>(EFD_SEMAPHORE) : 0U);
  const bool small = record.count() <= UINT_MAX;
  const Slot made = script.call_to_slot("make an eventfd", SYS_eventfd2, {small ? record.count() : 0, flags});
  if (!small) {
    const uint64_t count = script.object(record.count());
    script.call_expecting("set the count of an eventfd", sizeof(uint64_t), SYS_write,
                          {made, count, sizeof(uint64_t)});
  }
  context.deliver(record.open_file(), made);
}

}  // namespace

constinit const Kind kEventFd{RecordType::EventFd, "eventfd", single_open_file<image::EventFd>, make,
                              nullptr};

}  // namespace godwit::making
