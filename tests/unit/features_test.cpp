#include "kernel/features.h"

#include <gtest/gtest.h>

#include <set>

#include "kernel/error.h"
#include "kernel/feature_probes.h"

namespace godwit {
namespace {

TEST(Features, EveryRowSaysWhatItIsFor) {
  std::set<std::string_view> names;
  ASSERT_EQ(feature_table().size(), kFeatureCount);
  for (const FeatureInfo& row : feature_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " stands there twice";
    EXPECT_FALSE(row.needed_for.empty()) << row.name;
    EXPECT_EQ(&info(row.feature), &row);
  }
}

TEST(Features, ProbesLeaveErrnoAlone) {
  for (const FeatureInfo& row : feature_table()) {
    errno = 12345;
    (void)probe(row.feature);
    EXPECT_EQ(errno, 12345) << row.name;
  }
}

TEST(Features, ProbesAgreeWithThemselves) {
  for (const FeatureInfo& row : feature_table()) {
    EXPECT_EQ(probe(row.feature), probe(row.feature)) << row.name;
  }
}

TEST(Features, EveryoneMayCompareHimselfWithHimself) {
  EXPECT_TRUE(has(Feature::CloseRange));
}

TEST(Features, HiddenOnesAreAbsent) {
  EXPECT_FALSE(hidden(Feature::Openat2));
  hide_features("openat2,,anon_vma_name");
  EXPECT_TRUE(hidden(Feature::Openat2));
  EXPECT_FALSE(has(Feature::Openat2));
  EXPECT_EQ(presence(Feature::AnonVmaName), Presence::Hidden);
}

TEST(Features, HidingByAgeGoesByTheTable) {
  hide_features("newer-than-5.15");
  for (const FeatureInfo& row : feature_table()) {
    if (row.since > KernelVersion{5, 15}) {
      EXPECT_TRUE(hidden(row.feature)) << row.name;
    }
  }
  EXPECT_FALSE(hidden(Feature::MoveMountSetGroup));
  EXPECT_FALSE(hidden(Feature::PidfdGetfd));
}

TEST(Features, UnknownNamesAreRefused) {
  EXPECT_THROW(hide_features("warp_drive"), Error);
  EXPECT_THROW(hide_features("newer-than-five"), Error);
  EXPECT_THROW(hide_features("newer-than-5.15-rc1"), Error);
}

}  // namespace
}  // namespace godwit
