#include <fcntl.h>

#include "dump/descriptor_kind.h"
#include "images-format/memfd.pb.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.link.starts_with("/memfd:") && description.status.st_nlink == 0 &&
         (description.info.flags & O_PATH) == 0;
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::MemFd>();
    description->fill(*record->mutable_open_file());
    record->set_shared_memory_id(context.shared_memory.add(description->proc_link()));
    record->set_position(description->info.position);
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kMemFd{
    "memfd", matches, nullptr, collect,
    "content with its holes, seals, name, position, flags; whether it is mapped, by whom"};

}  // namespace godwit::collecting
