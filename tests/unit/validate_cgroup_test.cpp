#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "images-format/cgroup.pb.h"
#include "images-format/task.pb.h"
#include "images-format/validate.h"
#include "images-format/validate_index.h"
#include "kernel/cgroup.h"
#include "kernel/cgroup_property.h"
#include "kernel/error.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

using testing::HasSubstr;

/// The error's text after `damage` was done to the n-th Message of the sample; empty: it was accepted.
template <typename Message>
std::string verdict(const std::function<void(Message&)>& damage, size_t n = 0) {
  MemoryPages pages;
  std::vector<Record> records = sample_records(pages);
  for (Record& record : records) {
    if (record.type == record_type_of(Message::default_instance()) && n-- == 0) {
      damage(static_cast<Message&>(*record.message));
    }
  }
  try {
    validate(records, {pages.bytes().size()});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(ValidateCgroups, Sets) {
  const auto set = [](const std::function<void(image::CgroupSet&)>& damage) {
    return verdict<image::CgroupSet>(damage, 1);
  };
  EXPECT_EQ(set([](auto&) {}), "");
  EXPECT_THAT(set([](auto& s) { s.set_id(0); }), HasSubstr("cgroup set 0"));
  EXPECT_THAT(set([](auto& s) { s.set_id(1); }), HasSubstr("cgroup set 1 is there twice"));
  EXPECT_THAT(set([](auto& s) { s.set_id(9); }), HasSubstr("cgroup set 2 isn't there"));
  EXPECT_THAT(set([](auto& s) { s.mutable_places(0)->set_path("sample"); }), HasSubstr("absolute"));
  EXPECT_THAT(set([](auto& s) { s.mutable_places(0)->set_path("/" + std::string(5000, 'a')); }),
              HasSubstr("absolute"));
  EXPECT_THAT(set([](auto& s) { s.mutable_places(0)->set_controllers(""); }),
              HasSubstr("two places in one hierarchy"));
  EXPECT_THAT(set([](auto& s) { s.mutable_places(0)->set_controllers(std::string(300, 'a')); }),
              HasSubstr("300 bytes"));
  EXPECT_THAT(verdict<image::Task>([](auto& t) { t.mutable_threads(0)->set_cgroup_set(7); }),
              HasSubstr("cgroup set 7 isn't there"));
}

/// Outside of the dumper's cgroup namespace: that is known, but nothing can be made there.
TEST(ValidateCgroups, PlacesOutside) {
  EXPECT_EQ(verdict<image::CgroupSet>([](auto& s) { s.mutable_places(0)->set_path("/../other"); }), "");
  for (const char* path : {"/../x", "/sample/..", "/sample/../../x", "sample", ""}) {
    EXPECT_FALSE(is_cgroup_path(path)) << path;
    EXPECT_THAT(verdict<image::CgroupHierarchy>([&](auto& h) { h.mutable_cgroups(0)->set_path(path); }),
                HasSubstr("isn't an absolute path without .."))
        << path;
    EXPECT_THAT(verdict<image::CgroupHierarchy>([&](auto& h) { h.set_top(path); }),
                HasSubstr("its top isn't an absolute path"))
        << path;
  }
  EXPECT_TRUE(is_cgroup_path("/a..b/..c"));
}

TEST(ValidateCgroups, Directories) {
  const auto pids = [](const std::function<void(image::CgroupHierarchy&)>& damage) {
    return verdict<image::CgroupHierarchy>(damage, 0);
  };
  const auto unified = [](const std::function<void(image::CgroupHierarchy&)>& damage) {
    return verdict<image::CgroupHierarchy>(damage, 1);
  };
  EXPECT_THAT(pids([](auto& h) { h.mutable_cgroups(0)->set_path("/"); }), HasSubstr("everybody's"));
  EXPECT_THAT(pids([](auto& h) { h.mutable_cgroups(0)->set_path("/sample/inner"); }), HasSubstr("twice"));
  EXPECT_THAT(pids([](auto& h) { h.mutable_cgroups(1)->set_path("/system.slice"); }),
              HasSubstr("neither below its top nor has tasks in it"));
  EXPECT_THAT(pids([](auto& h) { h.mutable_cgroups(0)->set_mode(0100755); }), HasSubstr("mode"));
  EXPECT_THAT(pids([](auto& h) { h.mutable_cgroups(0)->set_threaded(true); }), HasSubstr("threaded"));
  EXPECT_EQ(unified([](auto& h) { h.mutable_cgroups(0)->set_threaded(true); }), "");
  EXPECT_THAT(pids([](auto& h) { h.set_controllers(""); }), HasSubstr("there twice"));
}

TEST(ValidateCgroups, Properties) {
  const auto property = [](const std::string& file, const std::string& value, size_t hierarchy = 0) {
    return verdict<image::CgroupHierarchy>(
        [&](auto& h) {
          h.mutable_cgroups(1)->mutable_properties(0)->set_file(file);
          h.mutable_cgroups(1)->mutable_properties(0)->set_value(value);
        },
        hierarchy);
  };
  EXPECT_EQ(property("memory.limit_in_bytes", "1"), "");
  for (const char* file : {"../../release_agent", "release_agent", "cgroup.procs", "tasks", "devices.allow",
                           "", "hugetlb.2MB/../../x.max", "hugetlb..limit_in_bytes", "memory.force_empty"}) {
    EXPECT_THAT(property(file, "1"), HasSubstr("is unknown")) << file;
  }
  EXPECT_EQ(property("hugetlb.1GB.rsvd.max", "1", 1), "");
  EXPECT_THAT(property("hugetlb.1GB.rsvd.max", "1", 0), HasSubstr("is unknown"));
  EXPECT_THAT(property("pids.max", "1\n2"), HasSubstr("or no text"));
  EXPECT_EQ(property("devices.list", "c 1:3 rwm\nc 1:5 r"), "");
  EXPECT_THAT(property("devices.list", std::string("c 1:3 rwm\0", 10)), HasSubstr("or no text"));
  EXPECT_THAT(property("devices.list", std::string(100'000, 'a')), HasSubstr("100000 bytes"));
  EXPECT_THAT(verdict<image::CgroupHierarchy>(
                  [](auto& h) { *h.mutable_cgroups(1)->add_properties() = h.cgroups(1).properties(0); }),
              HasSubstr("pids.max is there twice"));
}

TEST(ValidateCgroups, Owners) {
  const auto owner = [](const std::function<void(image::CgroupFileOwner&)>& damage) {
    return verdict<image::CgroupHierarchy>(
        [&](auto& h) { damage(*h.mutable_cgroups(1)->mutable_owners(0)); });
  };
  EXPECT_EQ(owner([](auto& o) { o.set_file("tasks"); }), "");
  EXPECT_THAT(owner([](auto& o) { o.set_file("../cgroup.procs"); }), HasSubstr("is unknown"));
  EXPECT_THAT(owner([](auto& o) { o.set_file("release_agent"); }), HasSubstr("is unknown"));
  EXPECT_THAT(owner([](auto& o) { o.set_mode(04755); }), HasSubstr("mode"));
}

}  // namespace
}  // namespace godwit
