// What a restore doesn't keep, and warns about.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "kernel/log.h"
#include "restore/machine.h"
#include "restore/state.h"

namespace godwit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Cgroups, OnlyOthersThanOursAreMissing) {
  image::CgroupSet wanted;
  for (const auto& [controllers, path] : {std::pair("memory", "/a"), {"cpu", "/"}, {"", "/service:x"}}) {
    image::CgroupPlace& place = *wanted.add_places();
    place.set_controllers(controllers);
    place.set_path(path);
  }
  EXPECT_THAT(cgroups_missing(wanted, "7:memory:/a\n2:cpu:/\n0::/service:x\n"), IsEmpty());
  EXPECT_THAT(cgroups_missing(wanted, "4:memory:/b\n1:cpu:/\n0::/\n"),
              ElementsAre("memory:/a", ":/service:x"));
  EXPECT_THAT(cgroups_missing({}, "1:cpu:/\n"), IsEmpty());
}

std::vector<std::string> warnings;

TEST(Scheduling, ClampsThatTheKernelLacksAreWarnedAbout) {
  const Baseline baseline = Baseline::of_this_process();
  image::Scheduling scheduling = baseline.scheduling;
  scheduling.set_util_min(100);
  scheduling.set_util_max(900);
  warnings.clear();
  log::set_sink([](log::Level, std::string_view line) { warnings.emplace_back(line); }, log::Level::Warning);
  apply_scheduling(::gettid(), scheduling, baseline);
  const image::Scheduling now = read_scheduling(::gettid());
  apply_scheduling(::gettid(), baseline.scheduling, baseline);
  log::set_sink(nullptr, log::Level::Warning);
  if (now.util_min() == 100) {
    EXPECT_EQ(now.util_max(), 900U);
    EXPECT_THAT(warnings, IsEmpty());
  } else {
    EXPECT_THAT(warnings, ElementsAre(testing::HasSubstr("utilization clamps 100 to 900")));
  }
}

}  // namespace
}  // namespace godwit
