#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "images-format/checkpoint_reader.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/task.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ImageRoundTrip : public testing::TestWithParam<image::PageBlock::Codec> {};

TEST_P(ImageRoundTrip, EveryRecordComesBack) {
  TempDirectory directory;
  write_sample(directory / "image", {.codec = GetParam(), .sync = true});
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"image"});
  EXPECT_EQ(names_in(directory / "image"), (std::vector<std::string>{"checkpoint", "pages"}));
  const CheckpointImage image = CheckpointImage::open_directory(directory / "image");
  verify_pages(image);
  MemoryPages pages;
  const std::vector<Record> expected = sample_records(pages);
  ASSERT_EQ(image.records().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].type != RecordType::MemoryObject) {
      EXPECT_EQ(image.records()[i].message->DebugString(), expected[i].message->DebugString());
    }
  }
  EXPECT_EQ(image.all<image::Task>().size(), 3U);
  EXPECT_EQ(image.header().root_pid(), 100);
}

INSTANTIATE_TEST_SUITE_P(Codecs, ImageRoundTrip,
                         testing::Values(image::PageBlock::NONE, image::PageBlock::ZSTD),
                         [](const auto& codec) {
                           return codec.param == image::PageBlock::NONE ? "None" : "Zstd";
                         });

TEST(ImageWriter, WithoutCommitNothingIsLeft) {
  TempDirectory directory;
  {
    const auto writer = CheckpointWriter::create_directory(directory / "image", {});
    const auto records = sample_records(writer->pages());
    writer->add(*records.front().message);
    EXPECT_EQ(names_in(directory.path()).size(), 1U);
    EXPECT_FALSE(fs::exists(directory / "image"));
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST(ImageWriter, AnEmptyDirectoryIsReplaced) {
  TempDirectory directory;
  fs::create_directory(directory / "image");
  write_sample(directory / "image/");
  EXPECT_NO_THROW(static_cast<void>(CheckpointImage::open_directory(directory / "image")));
}

TEST(ImageWriter, AnythingElseIsRefusedAndKept) {
  TempDirectory directory;
  write_sample(directory / "image");
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_directory(directory / "image", {})), Error);
  static_cast<void>(open_file(directory / "file", O_CREAT | O_WRONLY, 0600));
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_directory(directory / "file", {})), Error);
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_directory(directory / "none/image", {})), Error);
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_directory("/", {})), Error);
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_directory("", {})), Error);
  EXPECT_EQ(names_in(directory.path()), (std::vector<std::string>{"file", "image"}));
}

TEST(ImageWriter, OfTwoWritersOfOneNameTheFirstToCommitWins) {
  TempDirectory directory;
  const auto first = CheckpointWriter::create_directory(directory / "image", {.sync = false});
  {
    const auto second = CheckpointWriter::create_directory(directory / "image", {.sync = false});
    EXPECT_EQ(names_in(directory.path()).size(), 2U) << "a live writer's directory isn't stale";
    for (const auto& writer : {&first, &second}) {
      for (const Record& record : sample_records((*writer)->pages())) {
        (*writer)->add(*record.message);
      }
    }
    first->commit();
    EXPECT_THROW(second->commit(), Error);
  }
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"image"});
  verify_pages(CheckpointImage::open_directory(directory / "image"));
}

}  // namespace
}  // namespace godwit
