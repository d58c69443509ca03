// What a time namespace holds: its clocks.
#include "dump/namespace.h"

namespace godwit {

void collect_time_namespace(image::TimeNamespace& record, const image::Checkpoint& header,
                            const ClockOffsets& offsets) {
  record.set_monotonic_ns(header.monotonic_ns() + static_cast<uint64_t>(offsets.monotonic_ns));
  record.set_boottime_ns(header.boottime_ns() + static_cast<uint64_t>(offsets.boottime_ns));
}

}  // namespace godwit
