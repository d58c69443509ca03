#include <gtest/gtest.h>

#include "dump/collectors.h"

namespace godwit {
namespace {

TEST(Numa, TheFirstPolicyIsFound) {
  EXPECT_EQ(first_numa_policy("55e000 default file=/bin/x mapped=2 N0=2\n7ff000 default stack anon=3\n"), "");
  EXPECT_EQ(first_numa_policy("55e000 default anon=1\n7f0000 bind:0-1 anon=5\n7ff000 prefer:0\n"),
            "7f0000 bind:0-1");
  EXPECT_EQ(first_numa_policy("7ff000 interleave:0"), "7ff000 interleave:0");
  EXPECT_EQ(first_numa_policy(""), "");
}

}  // namespace
}  // namespace godwit
