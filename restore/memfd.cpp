#include <sys/syscall.h>
#include <unistd.h>

#include "images-format/memfd.pb.h"
#include "kernel/error.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::MemFd&>(message);
  const auto memory = context.shared_memory.find(record.shared_memory_id());
  if (memory == context.shared_memory.end()) {
    throw error("shared memory {} isn't in the image", record.shared_memory_id());
  }
  const Slot file = context.reopen(memory->second, record.open_file().flags());
  if (record.position() != 0) {
    context.script.call("set the position", SYS_lseek, {file, record.position(), SEEK_SET});
  }
  context.deliver(record.open_file(), file);
}

}  // namespace

constinit const Kind kMemFd{RecordType::MemFd, "memfd", single_open_file<image::MemFd>, make, nullptr};

}  // namespace godwit::making
