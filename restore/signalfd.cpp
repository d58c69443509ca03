#include <fcntl.h>
#include <sys/syscall.h>

#include "images-format/signalfd.pb.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::SignalFd&>(message);
  ScriptBuilder& script = context.script;
  const uint64_t mask = script.object(record.mask());
  const uint32_t flags = (record.open_file().flags() & O_NONBLOCK) | O_CLOEXEC;
  context.deliver(record.open_file(),
                  script.call_to_slot("make a signalfd", SYS_signalfd4, {-1, mask, sizeof(uint64_t), flags}));
}

}  // namespace

constinit const Kind kSignalFd{RecordType::SignalFd, "signalfd", single_open_file<image::SignalFd>, make,
                               nullptr};

}  // namespace godwit::making
