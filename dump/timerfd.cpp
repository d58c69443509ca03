#include <sys/timerfd.h>
#include <time.h>

#include "dump/descriptor_kind.h"
#include "images-format/timerfd.pb.h"
#include "kernel/error.h"

namespace godwit::collecting {

namespace {

constexpr uint64_t kNanoseconds = 1'000'000'000;

bool matches(const Description& description) {
  return description.link == "anon_inode:[timerfd]";
}

std::string_view required(const Description& description, const FdInfo& info, std::string_view name) {
  const auto value = info.field(name);
  if (!value) {
    throw error("{}: fdinfo doesn't show '{}'", description.name(), name);
  }
  return *value;
}

/// "(seconds, nanoseconds)"
uint64_t parse_time(std::string_view text) {
  const size_t comma = text.find(',');
  if (text.size() < 4 || text.front() != '(' || text.back() != ')' || comma == std::string_view::npos) {
    throw error("timerfd: '{}' isn't a time", text);
  }
  const auto seconds = parse_number<uint64_t>(text.substr(1, comma - 1), 10, "timerfd's seconds");
  return seconds * kNanoseconds +
         parse_number<uint64_t>(text.substr(comma + 1, text.size() - comma - 2), 10, "timerfd's nanoseconds");
}

/// The alarm clocks tell the time of those that they are made of; without a real-time clock that can wake the
/// machine they don't tell it at all.
clockid_t telling(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME_ALARM:
      return CLOCK_REALTIME;
    case CLOCK_BOOTTIME_ALARM:
      return CLOCK_BOOTTIME;
    default:
      return clock;
  }
}

/// A periodic timer that has expired stands still until somebody asks: then the kernel counts what has
/// been missed and starts it again.
FdInfo refreshed_info(const Description& description, Context& context) {
  const Fd copy = context.copy(description);
  itimerspec value{};
  if (::timerfd_gettime(copy.get(), &value) != 0) {
    throw errno_error("cannot ask {} for its time", description.name());
  }
  return parse_fdinfo(read_record(fmt::format("/proc/self/fdinfo/{}", copy.get())));
}

void collect(std::span<const Description* const> descriptions, Context& context) {
  for (const Description* description : descriptions) {
    auto record = std::make_unique<image::TimerFd>();
    description->fill(*record->mutable_open_file());
    const FdInfo info = refreshed_info(*description, context);
    const auto field = [&](std::string_view name) { return required(*description, info, name); };
    record->set_clock(parse_number<int32_t>(field("clockid"), 10, "clockid"));
    record->set_ticks(parse_number<uint64_t>(field("ticks"), 10, "ticks"));
    record->set_settime_flags(parse_number<uint32_t>(field("settime flags"), 8, "settime flags"));
    record->set_remaining_ns(parse_time(field("it_value")));
    record->set_interval_ns(parse_time(field("it_interval")));
    if ((record->settime_flags() & TFD_TIMER_ABSTIME) != 0 && record->remaining_ns() != 0) {
      record->set_expires_ns(context.namespaces.clock_of_tree(telling(record->clock())) +
                             record->remaining_ns());
    }
    context.add(std::move(record));
  }
}

}  // namespace

constinit const Kind kTimerFd{"timerfd", matches, nullptr, collect,
                              "clock, flags, interval, what remains, expirations that nobody has read"};

}  // namespace godwit::collecting
