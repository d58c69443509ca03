// Checkpoints in a directory that somebody else has made, and that holds files of theirs.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "images-format/checkpoint_reader.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

using Names = std::vector<std::string>;

class GivenDirectoryTest : public testing::Test {
 protected:
  GivenDirectoryTest() { put("notes"); }

  void put(const std::string& name) { std::ofstream(directory_ / name) << "theirs"; }

  [[nodiscard]] std::unique_ptr<CheckpointWriter> writer() const {
    return CheckpointWriter::create_in_directory(given_.get(), directory_.path(), {.sync = true});
  }

  static void fill(CheckpointWriter& writer) {
    for (const Record& record : sample_records(writer.pages())) {
      writer.add(*record.message);
    }
  }

  [[nodiscard]] Names names() const {
    Names names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  /// By the directory's descriptor, as clients have it read.
  [[nodiscard]] bool is_whole() const {
    try {
      verify_pages(CheckpointImage::open_directory(given_.get(), directory_.path()));
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  TempDirectory directory_;
  const Fd given_ = open_file(directory_.path(), O_PATH | O_DIRECTORY);
};

TEST_F(GivenDirectoryTest, TheFilesGetTheirNamesWhenTheyAreComplete) {
  const auto checkpoint = writer();
  fill(*checkpoint);
  EXPECT_EQ(names(), (Names{"checkpoint.partial", "notes", "pages.partial"}));
  checkpoint->commit();
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages"}));
  EXPECT_TRUE(is_whole());
}

TEST_F(GivenDirectoryTest, AnOlderCheckpointStaysUntilThereIsANewOne) {
  {
    const auto first = writer();
    fill(*first);
    first->commit();
  }
  put("pages-2");  // as if it had been a larger one
  {
    const auto abandoned = writer();
    fill(*abandoned);
  }
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages", "pages-2"}));
  const auto second = writer();
  fill(*second);
  second->commit();
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages"}));
  EXPECT_TRUE(is_whole());
}

TEST_F(GivenDirectoryTest, WhatIsTakenBackIsGone) {
  const auto checkpoint = writer();
  fill(*checkpoint);
  checkpoint->commit();
  checkpoint->retract();
  EXPECT_EQ(names(), Names{"notes"});
}

TEST_F(GivenDirectoryTest, OneWriterAtATime) {
  const auto first = writer();
  fill(*first);
  EXPECT_THROW(static_cast<void>(writer()), Error);
  first->commit();
  EXPECT_TRUE(is_whole());
}

TEST_F(GivenDirectoryTest, WhatAKilledWriterLeftIsRemovedByTheNext) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto killed = writer();
    fill(*killed);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  put("pages-7.partial");
  EXPECT_EQ(names(), (Names{"checkpoint.partial", "notes", "pages-7.partial", "pages.partial"}));
  EXPECT_FALSE(is_whole());
  const auto next = writer();
  fill(*next);
  next->commit();
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages"}));
  EXPECT_TRUE(is_whole());
}

TEST_F(GivenDirectoryTest, WhatCannotBeRenamedIsNoCheckpoint) {
  const auto checkpoint = writer();
  fill(*checkpoint);
  std::filesystem::create_directory(directory_ / "checkpoint");
  EXPECT_THROW(checkpoint->commit(), Error);
  std::filesystem::remove(directory_ / "checkpoint");
  EXPECT_EQ(names(), (Names{"checkpoint.partial", "notes"}));
  EXPECT_FALSE(is_whole());
}

}  // namespace
}  // namespace godwit
