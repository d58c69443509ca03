#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "images-format/regular_file.pb.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::RegularFile&>(message);
  const uint32_t flags = record.open_file().flags();
  const Slot file = context.open(record.file_id(), static_cast<int>(flags));
  if (record.position() != 0 && (flags & O_PATH) == 0) {
    context.script.call("set the position", SYS_lseek, {file, record.position(), SEEK_SET});
  }
  if ((flags & O_PATH) == 0 && S_ISREG(context.files.file(record.file_id()).mode()) &&
      !context.files.file(record.file_id()).has_ghost()) {
    context.set_flags(file, record.open_file(), flags | O_NONBLOCK);
  }
  context.deliver(record.open_file(), file);
}

uint32_t file_id(const google::protobuf::Message& message) {
  return static_cast<const image::RegularFile&>(message).file_id();
}

}  // namespace

constinit const Kind kRegularFile{RecordType::RegularFile,
                                  "regular file",
                                  single_open_file<image::RegularFile>,
                                  make,
                                  nullptr,
                                  nullptr,
                                  nullptr,
                                  file_id};

}  // namespace godwit::making
