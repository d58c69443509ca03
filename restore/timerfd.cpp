#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "images-format/timerfd.pb.h"
#include "kernel/fd.h"
#include "restore/descriptor_kind.h"

namespace godwit::making {

namespace {

constexpr uint64_t kNanoseconds = 1'000'000'000;
constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);  // TFD_IOC_SET_TICKS

timespec to_timespec(uint64_t nanoseconds) {
  return {static_cast<time_t>(nanoseconds / kNanoseconds), static_cast<long>(nanoseconds % kNanoseconds)};
}

/// Clocks other than that of the world begin anew with each boot: there an absolute time says nothing.
bool clock_goes_on(int clock, const MakeContext& context) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM || context.is_same_boot();
}

void arm(const image::TimerFd& record, MakeContext& context, Slot timer) {
  ScriptBuilder& script = context.script;
  const bool absolute = record.expires_ns() != 0 && clock_goes_on(record.clock(), context);
  itimerspec value{};
  value.it_value = to_timespec(absolute ? record.expires_ns() : record.remaining_ns());
  value.it_interval = to_timespec(record.interval_ns());
  const uint32_t flags = absolute ? record.settime_flags() : 0;
  script.call("set a timerfd", SYS_timerfd_settime, {timer, flags, script.object(value), 0});
}

void make(const google::protobuf::Message& message, MakeContext& context) {
  const auto& record = static_cast<const image::TimerFd&>(message);
  ScriptBuilder& script = context.script;
  const Slot timer =
      script.call_to_slot("make a timerfd", SYS_timerfd_create,
                          {record.clock(), (record.open_file().flags() & O_NONBLOCK) | O_CLOEXEC});
  if (record.remaining_ns() != 0 || record.interval_ns() != 0) {
    arm(record, context, timer);
  } else if (record.settime_flags() != 0) {
    // Disarmed, or expired: only its flags are left of its last setting.
    const uint64_t never = script.object(itimerspec{});
    script.call("set a timerfd", SYS_timerfd_settime, {timer, record.settime_flags(), never, 0});
  }
  if (record.ticks() != 0) {
    script.call("set the ticks of a timerfd", SYS_ioctl, {timer, kSetTicks, script.object(record.ticks())});
  }
  context.deliver(record.open_file(), timer);
}

}  // namespace

constinit const Kind kTimerFd{RecordType::TimerFd, "timerfd", single_open_file<image::TimerFd>, make,
                              nullptr};

}  // namespace godwit::making
