// Checkpoints in a directory that somebody else has made, and that holds files of theirs.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>

#include "images-format/checkpoint_reader.h"
#include "images-format/frame.h"
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

  /// One with two files of pages, by which the sample can be told from it.
  void write_older() {
    {
      const auto first = writer();
      fill(*first);
      first->commit();
    }
    const std::string path = directory_ / "checkpoint";
    const CheckpointImage image = CheckpointImage::open_directory(directory_.path());
    FrameWriter frames;
    for (const Record& record : image.records()) {
      frames.add(*record.message);
    }
    const Fd file = open_file(path, O_WRONLY | O_TRUNC);
    write_all(file.get(), frames.close({std::filesystem::file_size(directory_ / "pages"), 0}), path);
    std::ofstream(directory_ / "pages-2");
  }
  [[nodiscard]] bool is_older() const {
    return is_whole() && std::filesystem::exists(directory_ / "pages-2");
  }

  /// An older checkpoint, and a newer one that only lacks its names.
  void start_anew() {
    for (const std::string& name : names()) {
      std::filesystem::remove(directory_ / name);
    }
    {
      const auto newer = writer();
      fill(*newer);
      newer->commit();
    }
    const TempDirectory elsewhere;
    for (const char* name : {"checkpoint", "pages"}) {
      std::filesystem::rename(directory_ / name, elsewhere / name);
    }
    write_older();
    for (const char* name : {"checkpoint", "pages"}) {
      std::filesystem::rename(elsewhere / name, directory_ / (std::string(name) + ".partial"));
    }
  }

  [[nodiscard]] bool is_theirs(const std::string& name) const {
    std::string content;
    std::getline(std::ifstream(directory_ / name), content);
    return content == "theirs";
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
  write_older();
  {
    const auto abandoned = writer();
    fill(*abandoned);
  }
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages", "pages-2"}));
  EXPECT_TRUE(is_older());
  {
    const auto second = writer();
    fill(*second);
    second->commit();
    EXPECT_TRUE(is_whole());
    EXPECT_EQ(names(), (Names{"checkpoint", "checkpoint.old", "notes", "pages", "pages-2.old", "pages.old"}));
  }
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages"}));
  EXPECT_TRUE(is_whole());
  EXPECT_FALSE(is_older());
}

TEST_F(GivenDirectoryTest, WhatIsTakenBackIsGone) {
  const auto checkpoint = writer();
  fill(*checkpoint);
  checkpoint->commit();
  checkpoint->retract();
  EXPECT_EQ(names(), Names{"notes"});
}

TEST_F(GivenDirectoryTest, WhereTheNewOneIsTakenBackTheOlderOneIsBack) {
  write_older();
  {
    const auto checkpoint = writer();
    fill(*checkpoint);
    checkpoint->commit();
    EXPECT_FALSE(is_older());
    checkpoint->retract();
    EXPECT_TRUE(is_older());
  }
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages", "pages-2"}));
  EXPECT_TRUE(is_older());
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
  put("pages-7.partial");  // as if more threads had written
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
  put("checkpoint");
  EXPECT_THROW(checkpoint->commit(), Error);
  EXPECT_EQ(names(), (Names{"checkpoint", "notes"}));
  EXPECT_TRUE(is_theirs("checkpoint"));
}

TEST_F(GivenDirectoryTest, ReadersSayThatACheckpointStandsAside) {
  write_older();
  std::filesystem::rename(directory_ / "checkpoint", directory_ / "checkpoint.old");
  try {
    static_cast<void>(CheckpointImage::open_directory(given_.get(), directory_.path()));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("but 'checkpoint.old'"), std::string::npos) << e.what();
  }
}

TEST_F(GivenDirectoryTest, WhatCannotBeRenamedLeavesTheOlderOne) {
  write_older();
  const auto checkpoint = writer();
  fill(*checkpoint);
  put("pages-2.old");
  EXPECT_THROW(checkpoint->commit(), Error);
  EXPECT_EQ(names(), (Names{"checkpoint", "notes", "pages", "pages-2", "pages-2.old"}));
}

TEST_F(GivenDirectoryTest, FilesOfOthersAreNotTakenForACheckpoint) {
  for (const char* name : {"checkpoint", "pages", "pages-2", "pages-8", "checkpoint.old", "pages.old",
                           "checkpoint.partial", "pages-3.partial"}) {
    for (const bool beside_a_checkpoint : {false, true}) {
      if (beside_a_checkpoint) {
        if (name == std::string("checkpoint") || name == std::string("pages")) {
          continue;
        }
        const auto first = writer();
        fill(*first);
        first->commit();
      }
      put(name);
      try {
        static_cast<void>(writer());
        ADD_FAILURE() << name;
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find("'" + std::string(name) + "' in"), std::string::npos)
            << e.what();
      }
      EXPECT_TRUE(is_theirs(name)) << name;
      std::filesystem::remove(directory_ / name);
      EXPECT_EQ(is_whole(), beside_a_checkpoint) << name;
      std::filesystem::remove(directory_ / "checkpoint");
      std::filesystem::remove(directory_ / "pages");
    }
  }
}

/// A file that gets another name, or that is removed.
struct Step {
  std::string from;
  std::string to;
};

/// After each step of a writer, as if it had been killed there: the next finds the older checkpoint or the
/// newer one, whole, and nothing else.
TEST_F(GivenDirectoryTest, AWriterThatIsKilledBetweenTwoSteps) {
  const std::vector<Step> publish{{"checkpoint", "checkpoint.old"},
                                  {"pages", "pages.old"},
                                  {"pages-2", "pages-2.old"},
                                  {"pages.partial", "pages"},
                                  {"checkpoint.partial", "checkpoint"}};
  const std::vector<Step> settle{{"pages.old", ""}, {"pages-2.old", ""}, {"checkpoint.old", ""}};
  const std::vector<Step> retract{{"checkpoint", "checkpoint.partial"},
                                  {"pages", ""},
                                  {"pages.old", "pages"},
                                  {"pages-2.old", "pages-2"},
                                  {"checkpoint.old", "checkpoint"},
                                  {"checkpoint.partial", ""}};
  for (const auto* then : {&settle, &retract}) {
    std::vector<Step> steps = publish;
    steps.insert(steps.end(), then->begin(), then->end());
    for (size_t done = 0; done <= steps.size(); ++done) {
      SCOPED_TRACE(fmt::format("{} steps, then {}", done, then == &settle ? "settled" : "taken back"));
      start_anew();
      for (const Step& step : std::span(steps).first(done)) {
        if (step.to.empty()) {
          std::filesystem::remove(directory_ / step.from);
        } else {
          std::filesystem::rename(directory_ / step.from, directory_ / step.to);
        }
      }
      const bool newer = done == publish.size() || (done > publish.size() && then == &settle);
      EXPECT_NO_THROW(static_cast<void>(writer()));
      EXPECT_EQ(names(), newer ? (Names{"checkpoint", "pages"}) : (Names{"checkpoint", "pages", "pages-2"}));
      EXPECT_TRUE(is_whole());
    }
  }
}

}  // namespace
}  // namespace godwit
