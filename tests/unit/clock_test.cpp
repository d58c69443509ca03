#include "kernel/clock.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace godwit {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(ClockOffsets, AreOfTheClocksThatStandStillInANamespace) {
  const ClockOffsets offsets{3, -4};
  EXPECT_EQ(offsets.of(CLOCK_MONOTONIC), 3);
  EXPECT_EQ(offsets.of(CLOCK_MONOTONIC_RAW), 3);
  EXPECT_EQ(offsets.of(CLOCK_BOOTTIME), -4);
  EXPECT_EQ(offsets.of(CLOCK_BOOTTIME_ALARM), -4);
  EXPECT_EQ(offsets.of(CLOCK_REALTIME), 0);
  EXPECT_EQ(offsets.of(CLOCK_TAI), 0);
}

/// The kernel wants nanoseconds from 0 to a second.
TEST(ClockOffsets, RoundSecondsDown) {
  EXPECT_EQ(clock_offsets_text({0, 0}), "monotonic 0 0\nboottime 0 0\n");
  EXPECT_EQ(clock_offsets_text({2 * kSecond + 5, -5}), "monotonic 2 5\nboottime -1 999999995\n");
  EXPECT_EQ(clock_offsets_text({-2 * kSecond, -2 * kSecond - 1}), "monotonic -2 0\nboottime -3 999999999\n");
  EXPECT_EQ(clock_offsets_text({INT64_MAX, INT64_MIN}),
            "monotonic 9223372036 854775807\nboottime -9223372037 145224192\n");
}

TEST(ClockOffsets, AreReadOfAProcess) {
  const ClockOffsets own = read_clock_offsets(getpid());
  const ClockOffsets parents = read_clock_offsets(getppid());
  EXPECT_EQ(own.monotonic_ns, parents.monotonic_ns);
  EXPECT_EQ(own.boottime_ns, parents.boottime_ns);
}

}  // namespace
}  // namespace godwit
