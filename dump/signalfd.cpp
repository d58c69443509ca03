#include "dump/descriptor_kind.h"
#include "images-format/signalfd.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.link == "anon_inode:[signalfd]";
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::SignalFd>();
    description->fill(*record->mutable_open_file());
    const auto mask = description->info.field("sigmask");
    if (!mask) {
      throw error("{}: fdinfo doesn't show its mask", description->name());
    }
    record->set_mask(parse_number<uint64_t>(*mask, 16, "sigmask"));
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kSignalFd{"signalfd", matches, nullptr, collect, "mask"};

}  // namespace godwit::collecting
