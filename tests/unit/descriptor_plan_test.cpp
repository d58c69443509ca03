#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "images-format/eventfd.pb.h"
#include "images-format/pipe.pb.h"
#include "kernel/error.h"
#include "restore/descriptors.h"

namespace godwit {
namespace {

using ::testing::HasSubstr;

/// Puts an image together, record by record.
class DescriptorPlanTest : public ::testing::Test {
 protected:
  DescriptorPlanTest() { add<image::Checkpoint>(RecordType::Checkpoint); }

  template <typename Message>
  Message& add(RecordType type) {
    auto message = std::make_unique<Message>();
    Message& added = *message;
    records_.push_back({type, std::move(message)});
    return added;
  }

  void add_task(int pid, uint32_t table) {
    auto& task = add<image::Task>(RecordType::Task);
    task.add_pid(pid);
    task.set_descriptor_table_id(table);
  }

  void add_table(uint32_t id, std::initializer_list<std::pair<uint32_t, uint32_t>> descriptors) {
    auto& table = add<image::DescriptorTable>(RecordType::DescriptorTable);
    table.set_id(id);
    for (const auto& [fd, open_file] : descriptors) {
      image::Descriptor& descriptor = *table.add_descriptors();
      descriptor.set_fd(fd);
      descriptor.set_open_file_id(open_file);
    }
  }

  void add_eventfd(uint32_t id) { add<image::EventFd>(RecordType::EventFd).mutable_open_file()->set_id(id); }

  void add_pipe(uint32_t reader, uint32_t writer) {
    auto& pipe = add<image::Pipe>(RecordType::Pipe);
    pipe.add_ends()->mutable_open_file()->set_id(reader);
    pipe.add_ends()->mutable_open_file()->set_id(writer);
  }

  CheckpointImage image() { return {std::move(records_), nullptr}; }

 private:
  std::vector<Record> records_;
};

TEST_F(DescriptorPlanTest, WhatOneTableUsesIsMadeByItsTask) {
  add_task(41, 1);
  add_eventfd(7);
  add_table(1, {{3, 7}, {9, 7}});
  const CheckpointImage all = image();
  const DescriptorPlan plan(all);
  EXPECT_EQ(plan.describe(), "open file 7: eventfd, made by task 41; task 41: 3 9\n");
  EXPECT_GE(plan.first_free_descriptor(), 10);
}

TEST_F(DescriptorPlanTest, WhereTheLimitLeavesNoRoomAboveAGapIsUsed) {
  add_task(41, 1);
  add_task(42, 2);
  add_eventfd(7);
  add_table(1, {{270, 7}, {1000, 7}});
  add_table(2, {{320, 7}});
  const CheckpointImage all = image();
  EXPECT_EQ(DescriptorPlan(all, 1024).first_free_descriptor(), 1001);
  const DescriptorPlan plan(all, 1001);
  EXPECT_EQ(plan.first_free_descriptor(), 256);
  EXPECT_EQ(plan.last_free_descriptor(), 269);
}

TEST_F(DescriptorPlanTest, WhatSeveralTablesUseIsMadeByTheCoordinator) {
  add_task(41, 1);
  add_task(42, 2);
  add_eventfd(7);
  add_table(1, {{3, 7}});
  add_table(2, {{5, 7}});
  const CheckpointImage all = image();
  EXPECT_EQ(DescriptorPlan(all).describe(),
            "open file 7: eventfd, made by the coordinator; task 41: 3; task 42: 5\n");
}

TEST_F(DescriptorPlanTest, ATableThatTasksShareIsFilledByTheFirst) {
  add_task(41, 1);
  add_task(42, 1);
  add_eventfd(7);
  add_table(1, {{3, 7}});
  const CheckpointImage all = image();
  EXPECT_THAT(DescriptorPlan(all).describe(), HasSubstr("made by task 41; task 41: 3\n"));
}

TEST_F(DescriptorPlanTest, BothEndsOfAPipeAreMadeTogether) {
  add_task(41, 1);
  add_task(42, 2);
  add_pipe(7, 8);
  add_table(1, {{0, 7}});
  add_table(2, {{1, 8}});
  const CheckpointImage all = image();
  EXPECT_EQ(DescriptorPlan(all).describe(),
            "open file 7: pipe, made by the coordinator; task 41: 0\n"
            "open file 8: pipe, made by the coordinator; task 42: 1\n");
}

TEST_F(DescriptorPlanTest, WhatNoTaskHasIsMadeByTheCoordinator) {
  add_task(41, 1);
  add_eventfd(7);
  add_table(1, {});
  const CheckpointImage all = image();
  EXPECT_EQ(DescriptorPlan(all).describe(), "open file 7: eventfd, made by the coordinator\n");
}

TEST_F(DescriptorPlanTest, ContradictionsAreErrors) {
  add_task(41, 1);
  add_eventfd(7);
  add_eventfd(7);
  const CheckpointImage twice = image();
  EXPECT_THROW(const DescriptorPlan plan(twice), Error);

  add<image::Checkpoint>(RecordType::Checkpoint);
  add_task(41, 1);
  add_table(1, {{3, 7}});
  const CheckpointImage dangling = image();
  EXPECT_THROW(const DescriptorPlan plan(dangling), Error);
}

}  // namespace
}  // namespace godwit
