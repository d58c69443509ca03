#include <poll.h>
#include <unistd.h>

#include "dump/descriptor_kind.h"
#include "images-format/eventfd.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

bool matches(const Description& description) {
  return description.link == "anon_inode:[eventfd]";
}

/// Kernels before 6.5 don't show EFD_SEMAPHORE: there, two units are added and one read takes one of
/// them, or all. The count is as it was afterwards.
bool finds_semaphore(const Description& description, Context& context, uint64_t count) {
  const Fd copy = context.copy(description);
  const auto add = [&](uint64_t units) {
    if (units > 0 && ::write(copy.get(), &units, sizeof units) != sizeof units) {
      throw errno_error("cannot probe {}", description.name());
    }
  };
  uint64_t got = 0;
  add(count < 2 ? 2 : 0);
  if (::read(copy.get(), &got, sizeof got) != sizeof got) {
    throw errno_error("cannot probe {}", description.name());
  }
  const bool semaphore = got == 1;
  if (semaphore) {
    if (count >= 2) {
      add(1);
    } else if (::read(copy.get(), &got, sizeof got) != sizeof got) {
      throw errno_error("cannot probe {}", description.name());
    }
  } else {
    add(count);
  }
  return semaphore;
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::EventFd>();
    description->fill(*record->mutable_open_file());
    const auto count = description->info.field("eventfd-count");
    if (!count) {
      throw error("{}: fdinfo doesn't show its count", description->name());
    }
    record->set_count(parse_number<uint64_t>(*count, 16, "eventfd-count"));
    const auto semaphore = description->info.field("eventfd-semaphore");
    record->set_semaphore(semaphore ? *semaphore == "1"
                                    : finds_semaphore(*description, context, record->count()));
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kEventFd{"eventfd", matches, nullptr, collect, "count, EFD_SEMAPHORE"};

}  // namespace godwit::collecting
