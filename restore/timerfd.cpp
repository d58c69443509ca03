#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>

#include "images-format/timerfd.pb.h"
#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

constexpr uint64_t kNanoseconds = 1'000'000'000;
constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);  // TFD_IOC_SET_TICKS

timespec to_timespec(uint64_t nanoseconds) {
  return {static_cast<time_t>(nanoseconds / kNanoseconds), static_cast<long>(nanoseconds % kNanoseconds)};
}

/// Where other clocks than that of the world have begun anew, an absolute time says nothing.
bool is_absolute(const image::TimerFd& record, bool clocks_go_on) {
  return record.expires_ns() != 0 &&
         (clocks_go_on || record.clock() == CLOCK_REALTIME || record.clock() == CLOCK_REALTIME_ALARM);
}

/// When the first of the unread expirations of a periodic timer was: armed for that moment, the kernel counts
/// them anew together with those that have come since. 0: it can't be done so.
uint64_t first_unread_ns(const image::TimerFd& record) {
  uint64_t counted = 0;
  if (record.interval_ns() == 0 || __builtin_mul_overflow(record.ticks(), record.interval_ns(), &counted) ||
      counted >= record.expires_ns()) {
    return 0;
  }
  return record.expires_ns() - counted;
}

/// Returns the expirations that are still to be set.
uint64_t arm(const image::TimerFd& record, MakeContext& context, Slot timer) {
  ScriptBuilder& script = context.script;
  const bool absolute = is_absolute(record, context.clocks_go_on());
  const uint64_t first = absolute ? first_unread_ns(record) : 0;
  itimerspec value{};
  if (absolute) {
    value.it_value = to_timespec(first != 0 ? first : record.expires_ns());
  } else {
    value.it_value = to_timespec(record.remaining_ns());
  }
  value.it_interval = to_timespec(record.interval_ns());
  const uint32_t flags = absolute ? record.settime_flags() : 0;
  script.call("set a timerfd", SYS_timerfd_settime, {timer, flags, script.object(value), 0});
  return first != 0 ? 0 : record.ticks();
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::TimerFd&>(message);
  ScriptBuilder& script = context.script;
  const Slot timer =
      script.call_to_slot("make a timerfd", SYS_timerfd_create,
                          {record.clock(), (record.open_file().flags() & O_NONBLOCK) | O_CLOEXEC});
  uint64_t ticks = record.ticks();
  if (record.remaining_ns() != 0 || record.interval_ns() != 0) {
    ticks = arm(record, context, timer);
  } else if (record.settime_flags() != 0) {
    // Disarmed, or expired: only its flags are left of its last setting.
    const uint64_t never = script.object(itimerspec{});
    script.call("set a timerfd", SYS_timerfd_settime, {timer, record.settime_flags(), never, 0});
  }
  if (ticks != 0) {
    script.call("set the ticks of a timerfd", SYS_ioctl, {timer, kSetTicks, script.object(ticks)});
  }
  context.deliver(record.open_file(), timer);
}

bool has_ticks_and_goes_on(const google::protobuf::Message& message) {
  const auto& record = static_cast<const image::TimerFd&>(message);
  return record.ticks() != 0 && record.interval_ns() != 0 && record.remaining_ns() != 0;
}

/// Setting a timer forgets its ticks, and setting the ticks forgets one that has come since: so both are done
/// again until the timer hasn't expired in between. (One with an absolute time counts by itself.)
void conclude(const google::protobuf::Message& message, const ConcludeContext& context) {
  const auto& record = static_cast<const image::TimerFd&>(message);
  if (is_absolute(record, context.clocks_go_on)) {
    return;
  }
  // What is about to expire before it can be set is given those ticks now.
  constexpr uint64_t kSoon = 200'000;
  const uint64_t interval = std::min(record.interval_ns(), UINT64_MAX - kSoon);
  const uint64_t due =
      record.remaining_ns() >= kSoon ? 0 : (kSoon - record.remaining_ns() + interval - 1) / interval;
  const uint64_t left = record.remaining_ns() + due * interval;
  const uint64_t ticks = record.ticks() + due;
  const itimerspec value{to_timespec(record.interval_ns()), to_timespec(left)};
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; ++i) {
    const uint64_t start = monotonic_ns();
    if (::timerfd_settime(context.descriptor, 0, &value, nullptr) != 0 ||
        ::ioctl(context.descriptor, kSetTicks, &ticks) != 0) {
      throw errno_error("cannot set its time and ticks");
    }
    if (monotonic_ns() - start < left) {
      return;
    }
  }
  throw error("it expires before its ticks can be set");
}

}  // namespace

constinit const Kind kTimerFd{
    RecordType::TimerFd,  "timerfd", single_open_file<image::TimerFd>, make, nullptr, conclude,
    has_ticks_and_goes_on};

}  // namespace godwit::making
