#include "plan/plan.h"

#include <gtest/gtest.h>

#include <csignal>

#include "images-format/memory.pb.h"
#include "kernel/error.h"
#include "restore/copied_pages.h"
#include "restore/inherited_range.h"

namespace godwit {
namespace {

/// A tree of tasks, put down as records.
class Tree {
 public:
  image::Task& task(pid_t pid, pid_t parent, pid_t session, pid_t group) {
    auto task = std::make_unique<image::Task>();
    image::Task* t = task.get();
    t->add_pid(pid);
    t->set_parent(parent);
    t->set_session(session);
    t->set_process_group(group);
    t->add_threads()->add_tid(pid);
    t->set_mm_id(static_cast<uint32_t>(pid));
    t->set_descriptor_table_id(static_cast<uint32_t>(pid));
    t->set_filesystem_id(static_cast<uint32_t>(pid));
    auto mm = std::make_unique<image::Mm>();
    mm->set_id(static_cast<uint32_t>(pid));
    mm->set_memory_object(static_cast<uint64_t>(pid));
    auto memory = std::make_unique<image::MemoryObject>();
    memory->set_id(static_cast<uint64_t>(pid));
    memory_[pid] = memory.get();
    if (root_ == 0) {
      root_ = pid;
    }
    records_.push_back({RecordType::Task, std::move(task)});
    records_.push_back({RecordType::Mm, std::move(mm)});
    records_.push_back({RecordType::MemoryObject, std::move(memory)});
    return *t;
  }
  void zombie(pid_t pid, pid_t parent, pid_t session, pid_t group) {
    image::Task& t = task(pid, parent, session, group);
    t.set_state(image::Task::ZOMBIE);
    t.clear_threads();
    t.set_mm_id(0);
  }
  void shares_pages(pid_t pid) {
    memory_.at(pid)->add_run_first(16);
    memory_.at(pid)->add_run_count(1);
    memory_.at(pid)->add_run_kind(image::PAGE_INHERITED);
  }
  Plan plan() {
    auto header = std::make_unique<image::Checkpoint>();
    header->set_root_pid(root_);
    records_.insert(records_.begin(), Record{RecordType::Checkpoint, std::move(header)});
    image_ = std::make_unique<CheckpointImage>(std::move(records_), nullptr);
    return make_plan(tree_records(*image_));
  }

 private:
  pid_t root_ = 0;
  std::vector<Record> records_;
  std::map<pid_t, image::MemoryObject*> memory_;
  std::unique_ptr<CheckpointImage> image_;
};

const PlannedNode& of(const Plan& plan, pid_t pid) {
  for (const PlannedNode& node : plan.nodes) {
    if (node.pid == pid) {
      return node;
    }
  }
  throw error("the plan has no {}", pid);
}

pid_t cloner_of(const Plan& plan, pid_t pid) {
  const int cloner = of(plan, pid).cloner;
  return cloner < 0 ? 0 : plan.nodes.at(static_cast<size_t>(cloner)).pid;
}

pid_t parent_of(const Plan& plan, pid_t pid) {
  const int parent = of(plan, pid).parent;
  return parent < 0 ? 0 : plan.nodes.at(static_cast<size_t>(parent)).pid;
}

TEST(Plan, ClonersStandBeforeWhatTheyClone) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 101, 100, 100);
  tree.task(103, 100, 100, 100);
  const Plan plan = tree.plan();
  ASSERT_EQ(plan.nodes.size(), 4U);
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    EXPECT_LT(plan.nodes[i].cloner, static_cast<int>(i));
  }
  EXPECT_EQ(plan.root().pid, 100);
  EXPECT_EQ(cloner_of(plan, 102), 101);
}

TEST(Plan, AChildOfTheOldSessionIsClonedBeforeItsParentLeavesIt) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 101, 101);
  tree.task(102, 101, 100, 100);
  tree.task(103, 101, 101, 101);
  const Plan plan = tree.plan();
  EXPECT_EQ(of(plan, 102).stage, CloneStage::BeforeSession);
  EXPECT_EQ(of(plan, 103).stage, CloneStage::AfterSession);
  EXPECT_EQ(cloner_of(plan, 102), 101);
}

TEST(Plan, AHelperStandsInForADeadSessionLeader) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(105, 100, 104, 104);  // its parent 104 led a session and is gone
  const Plan plan = tree.plan();
  const PlannedNode& helper = of(plan, 104);
  EXPECT_EQ(helper.kind, PlannedNode::Kind::Helper);
  EXPECT_TRUE(helper.leads_session);
  EXPECT_EQ(cloner_of(plan, 104), 100);
  EXPECT_EQ(cloner_of(plan, 105), 104);
  EXPECT_EQ(parent_of(plan, 105), 100);
  EXPECT_TRUE(plan.root().scaffold_subreaper);
}

TEST(Plan, AZombieLeaderClonesItsSessionItself) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.zombie(104, 100, 104, 104);
  tree.task(105, 100, 104, 104);
  const Plan plan = tree.plan();
  EXPECT_EQ(plan.nodes.size(), 3U);
  EXPECT_EQ(cloner_of(plan, 105), 104);
  EXPECT_EQ(parent_of(plan, 105), 100);
}

TEST(Plan, ALivingLeaderHandsOverByAHelper) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(104, 100, 104, 104);
  tree.task(105, 100, 104, 104);  // a grandchild of 104 once
  const Plan plan = tree.plan();
  ASSERT_EQ(plan.nodes.size(), 4U);
  const pid_t helper = cloner_of(plan, 105);
  EXPECT_EQ(of(plan, helper).kind, PlannedNode::Kind::Helper);
  EXPECT_EQ(cloner_of(plan, helper), 104);
  for (const pid_t used : {100, 104, 105}) {
    EXPECT_NE(helper, used);
  }
}

TEST(Plan, AHelperHoldsTheGroupOfADeadLeader) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(102, 100, 100, 101);
  tree.task(103, 100, 100, 101);
  const Plan plan = tree.plan();
  const PlannedNode& helper = of(plan, 101);
  EXPECT_EQ(helper.kind, PlannedNode::Kind::Helper);
  EXPECT_TRUE(helper.makes_group);
  EXPECT_EQ(helper.members.size(), 2U);
  EXPECT_FALSE(helper.leads_session);
}

TEST(Plan, ALeaderThatHasLeftItsGroupMakesItFirst) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 100, 100, 101);
  const Plan plan = tree.plan();
  EXPECT_TRUE(of(plan, 101).makes_group);
  EXPECT_EQ(of(plan, 101).group, 100);
  EXPECT_EQ(plan.nodes.size(), 3U);
}

TEST(Plan, SharedPagesDecideWhenAChildIsCloned) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 100, 100, 100);
  tree.shares_pages(102);
  const Plan plan = tree.plan();
  EXPECT_EQ(of(plan, 101).stage, CloneStage::AfterSession);
  EXPECT_EQ(of(plan, 102).stage, CloneStage::Filled);
}

TEST(Plan, AHelperHandsSharedPagesOn) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(105, 100, 104, 104);
  tree.shares_pages(105);
  const Plan plan = tree.plan();
  EXPECT_EQ(of(plan, 104).stage, CloneStage::Filled);
  EXPECT_TRUE(of(plan, 105).shares_pages);
}

TEST(Plan, SharedTablesGoFromParentToChild) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100).set_descriptor_table_id(100);
  const Plan plan = tree.plan();
  EXPECT_TRUE(of(plan, 101).shares_descriptors);
  EXPECT_FALSE(of(plan, 101).shares_filesystem);
}

TEST(Plan, SiblingsThatShareATableAreRefused) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 100, 100, 100).set_descriptor_table_id(101);
  EXPECT_THROW((void)tree.plan(), Error);
}

TEST(Plan, AShellJobKeepsTheOuterSession) {
  Tree tree;
  tree.task(100, 0, 0, 100);
  tree.task(101, 100, 0, 100);
  const Plan plan = tree.plan();
  EXPECT_FALSE(plan.root().leads_session);
  EXPECT_TRUE(plan.root().makes_group);
  EXPECT_EQ(cloner_of(plan, 101), 100);
}

TEST(Plan, AnOrphanOfTheOuterSessionIsRefusedByName) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 101, 101);
  tree.task(102, 101, 0, 101);
  try {
    (void)tree.plan();
    FAIL() << "nobody of that session is there to clone it";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("task 102"), std::string::npos) << e.what();
  }
}

image::Mapping anonymous(uint64_t start, uint64_t end) {
  image::Mapping mapping;
  mapping.set_start(start);
  mapping.set_end(end);
  return mapping;
}

TEST(InheritedRange, IsTheOverlapWithMappingsOfTheSameKind) {
  image::Mm parent;
  *parent.add_mappings() = anonymous(0x1000, 0x3000);
  *parent.add_mappings() = anonymous(0x3000, 0x5000);
  image::Mapping file = anonymous(0x8000, 0x9000);
  file.set_backing(image::Mapping::FILE);
  *parent.add_mappings() = file;
  const InheritedRange grown = inherited_range(anonymous(0x2000, 0x7000), parent);
  EXPECT_EQ(grown.start, 0x2000U);
  EXPECT_EQ(grown.end, 0x5000U);
  EXPECT_TRUE(inherited_range(anonymous(0x8000, 0x9000), parent).empty());
  image::Mapping shared = anonymous(0x1000, 0x3000);
  shared.set_shared(true);
  EXPECT_TRUE(inherited_range(shared, parent).empty());
}

int index_of(const Plan& plan, pid_t pid) {
  return static_cast<int>(&of(plan, pid) - plan.nodes.data());
}

TEST(Plan, AnInnerSubreaperWaitsForOrphansThatFallPastIt) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 101, 102, 102);
  tree.task(103, 101, 102, 102);  // fell from the session of 102 to 101
  tree.task(104, 100, 102, 102);  // and one to 100
  const Plan plan = tree.plan();
  const int past = of(plan, 104).cloner;
  EXPECT_EQ(of(plan, 101).passers, std::vector<int>{past});
  EXPECT_TRUE(of(plan, 100).passers.empty());
  EXPECT_EQ(plan.nodes.at(static_cast<size_t>(past)).adopter, index_of(plan, 100));
  EXPECT_EQ(plan.nodes.at(static_cast<size_t>(of(plan, 103).cloner)).adopter, index_of(plan, 101));
  // 102 waits for the outer one's first.
  EXPECT_EQ(of(plan, 102).wards, (std::vector<int>{past, of(plan, 103).cloner}));
}

TEST(Plan, WhatCantBeSharedIsCopied) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 101, 101);
  tree.task(102, 100, 101, 101);  // an orphan of a session whose leader lives
  tree.shares_pages(102);
  const Plan plan = tree.plan();
  EXPECT_TRUE(of(plan, 102).copies_pages);
  EXPECT_FALSE(of(plan, 102).shares_pages);
}

TEST(CopiedPages, ComeFromTheAncestorThatHasThem) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 101, 100, 100);
  const Plan plan = tree.plan();
  RunsByObject runs;
  runs[100] = {{16, 4, image::PAGE_PRESENT, 0}};
  runs[101] = {
      {10, 2, image::PAGE_PRESENT, 0}, {12, 4, image::PAGE_ZERO, 0}, {16, 8, image::PAGE_INHERITED, 0}};
  runs[102] = {{11, 3, image::PAGE_INHERITED, 0}, {17, 2, image::PAGE_INHERITED, 0}};
  const PagesToCopy copies = pages_to_copy(plan, index_of(plan, 102), runs);
  const auto texts = [](const std::vector<PageNumbers>& ranges) {
    std::vector<std::pair<uint64_t, uint64_t>> pairs;
    for (const PageNumbers& range : ranges) {
      pairs.emplace_back(range.first, range.end);
    }
    return pairs;
  };
  using Pairs = std::vector<std::pair<uint64_t, uint64_t>>;
  EXPECT_EQ(texts(copies.by_object.at(101)), (Pairs{{11, 12}}));
  EXPECT_EQ(texts(copies.by_object.at(100)), (Pairs{{17, 19}}));
  EXPECT_EQ(texts(copies.zeros), (Pairs{{12, 14}}));
}

TEST(Plan, OrphansOfADeadLeaderWithTwoAdoptersAreKeptApart) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(104, 100, 103, 103);  // both once children of members of session 103, which has no leader
  tree.task(105, 101, 103, 103);
  const Plan plan = tree.plan();
  EXPECT_EQ(parent_of(plan, 103), 101) << "both adopters must be above it";
  EXPECT_NE(cloner_of(plan, 104), cloner_of(plan, 105));
  EXPECT_EQ(of(plan, 101).passers, std::vector<int>{of(plan, 104).cloner});
}

TEST(Plan, AnOrphanThatCouldNotFallToItsParentIsRefused) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 100);
  tree.task(102, 101, 102, 102);
  tree.task(103, 100, 100, 100);
  tree.task(104, 103, 102, 102);  // the session is below 101, its parent isn't above that
  EXPECT_THROW(tree.plan(), Error);
}

TEST(Plan, AGroupIsWatchedByAParentInAnotherGroupOfItsSession) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  tree.task(101, 100, 100, 101);
  tree.task(102, 101, 100, 101);
  tree.task(103, 100, 103, 103);
  const Plan plan = tree.plan();
  EXPECT_EQ(member_that_is_watched(plan, index_of(plan, 102)), index_of(plan, 101));
  EXPECT_EQ(member_that_is_watched(plan, index_of(plan, 103)), -1) << "another session";
  EXPECT_EQ(member_that_is_watched(plan, index_of(plan, 100)), -1) << "nobody is above it";
}

TEST(Plan, AZombieThatEndedByASignalNobodyCanTakeIsRefused) {
  Tree tree;
  tree.task(100, 0, 100, 100);
  image::Task& zombie = tree.task(101, 100, 100, 100);
  zombie.set_state(image::Task::ZOMBIE);
  zombie.set_exit_signal(SIGSTOP);
  EXPECT_THROW(tree.plan(), Error);
}

}  // namespace
}  // namespace godwit
