#include "restore/time_namespace.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/features.h"
#include "kernel/log.h"

namespace godwit {

namespace {

/// What must be added to the machine's clock for it to show `wanted`; `here`: what is added for us.
int64_t offset_to_show(uint64_t wanted, clockid_t clock, const ClockOffsets& here) {
  const auto now = static_cast<int64_t>(clock_ns(clock)) - here.of(clock);
  return static_cast<int64_t>(wanted) - now;
}

}  // namespace

bool is_same_boot(const image::Checkpoint& header) {
  return read_file("/proc/sys/kernel/random/boot_id") == header.boot_id() + "\n";
}

std::optional<image::Namespace> clocks_of_another_boot(const image::Checkpoint& header, const Plan& plan) {
  if (is_same_boot(header) || plan.root_namespace("time") != nullptr) {
    return {};
  }
  if (!has(Feature::TimeNamespace)) {
    log::warning(
        "the checkpoint was made before this machine's last start, and there are no time namespaces here: "
        "monotonic clocks jump for its tasks");
    return {};
  }
  image::Namespace record;
  record.set_kind("time");
  record.set_task(header.root_pid());
  record.mutable_time()->set_monotonic_ns(header.monotonic_ns());
  record.mutable_time()->set_boottime_ns(header.boottime_ns());
  return record;
}

void enter_new_time_namespace(const image::TimeNamespace& record) {
  const ClockOffsets here = read_clock_offsets(::getpid());
  if (hidden(Feature::TimeNamespace)) {
    throw error("this kernel has no time namespaces");
  }
  if (::unshare(CLONE_NEWTIME) != 0) {
    throw errno_error("cannot make a time namespace");
  }
  // Until somebody is in it the offsets can be set.
  const std::string text = clock_offsets_text({offset_to_show(record.monotonic_ns(), CLOCK_MONOTONIC, here),
                                               offset_to_show(record.boottime_ns(), CLOCK_BOOTTIME, here)});
  const Fd offsets = open_file("/proc/self/timens_offsets", O_WRONLY);
  if (::write(offsets.get(), text.data(), text.size()) < 0) {
    const char* hint = errno == ERANGE ? "the kernel doesn't let clocks show that much" : "";
    throw errno_error("cannot let clocks go on from {} ns and {} ns", record.monotonic_ns(),
                      record.boottime_ns())
        .hint(hint);
  }
  const Fd made = open_file("/proc/self/ns/time_for_children", O_RDONLY);
  if (::setns(made.get(), CLONE_NEWTIME) != 0) {
    throw errno_error("cannot enter a time namespace");
  }
}

}  // namespace godwit
