// What a namespace in an image may say: all of it comes from whoever wrote the image.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "images-format/namespace.pb.h"
#include "images-format/validate_index.h"
#include "kernel/error.h"

namespace godwit {
namespace {

using testing::HasSubstr;

constexpr int kTask = 100;

image::Namespace sample(const char* kind) {
  image::Namespace record;
  record.set_id(4026532000);
  record.set_kind(kind);
  record.set_task(kTask);
  if (record.kind() == "uts") {
    record.mutable_uts()->set_hostname("here");
  } else if (record.kind() == "time") {
    record.mutable_time()->set_monotonic_ns(INT64_MAX / 2);
    record.mutable_time()->set_boottime_ns(0);
  }
  return record;
}

/// Empty: it was accepted.
std::string verdict(const char* kind, const std::function<void(image::Namespace&)>& damage) {
  std::vector<Record> records;
  auto record = std::make_unique<image::Namespace>(sample(kind));
  damage(*record);
  records.push_back({RecordType::Namespace, std::move(record)});
  ValidationIndex index;
  const image::Task task;
  index.tasks[kTask] = &task;
  try {
    validate_namespaces(records, index);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(ValidateNamespace, SamplesAreGood) {
  for (const char* kind : {"uts", "ipc", "net", "time", "pid", "cgroup", "mnt"}) {
    EXPECT_EQ(verdict(kind, [](auto&) {}), "");
  }
}

TEST(ValidateNamespace, Clocks) {
  EXPECT_THAT(verdict("time", [](auto& n) { n.clear_time(); }), HasSubstr("clocks belong to"));
  EXPECT_THAT(verdict("ipc", [](auto& n) { n.mutable_time(); }), HasSubstr("clocks belong to"));
  EXPECT_THAT(verdict("time", [](auto& n) { n.mutable_time()->set_monotonic_ns(INT64_MAX / 2 + 1); }),
              HasSubstr("more than the kernel allows"));
  EXPECT_THAT(verdict("time", [](auto& n) { n.mutable_time()->set_boottime_ns(UINT64_MAX); }),
              HasSubstr("more than the kernel allows"));
  EXPECT_THAT(verdict("time", [](auto& n) { n.set_external("outer"); }), HasSubstr("external"));
}

TEST(ValidateNamespace, Others) {
  EXPECT_THAT(verdict("uts", [](auto& n) { n.set_kind("moon"); }), HasSubstr("kind is unknown"));
  EXPECT_THAT(verdict("uts", [](auto& n) { n.set_id(0); }), HasSubstr("or is 0"));
  EXPECT_THAT(verdict("uts", [](auto& n) { n.set_task(7); }), HasSubstr("task 7"));
  EXPECT_THAT(verdict("uts", [](auto& n) { n.clear_uts(); }), HasSubstr("host names"));
}

}  // namespace
}  // namespace godwit
