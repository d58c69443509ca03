// Writers of a checkpoint as one file, and what can be known of a stream.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "images-format/checkpoint_reader.h"
#include "images-format/checkpoint_writer.h"
#include "images-format/stream_sink.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void fill(CheckpointWriter& writer) {
  for (const Record& record : sample_records(writer.pages())) {
    writer.add(*record.message);
  }
}

TEST(FileWriter, WithoutCommitNothingIsLeftAndRetractedNothingIsThere) {
  TempDirectory directory;
  {
    const auto writer = CheckpointWriter::create_file(directory / "image", {.sync = false});
    fill(*writer);
    EXPECT_EQ(names_in(directory.path()).size(), 1U);
    EXPECT_FALSE(fs::exists(directory / "image"));
  }
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
  {
    const auto writer = CheckpointWriter::create_file(directory / "image", {.sync = true});
    fill(*writer);
    writer->commit();
    EXPECT_TRUE(fs::exists(directory / "image"));
    writer->retract();
    EXPECT_FALSE(fs::exists(directory / "image"));
  }
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
}

TEST(FileWriter, AnythingThatIsThereIsRefusedAndKept) {
  TempDirectory directory;
  std::ofstream(directory / "file") << "mine";
  fs::create_directory(directory / "directory");
  fs::create_symlink(directory / "nowhere", directory / "link");
  for (const char* name : {"file", "directory", "link", "none/image", "image/"}) {
    EXPECT_THROW(static_cast<void>(CheckpointWriter::create_file(directory / name, {})), Error) << name;
  }
  EXPECT_THROW(static_cast<void>(CheckpointWriter::create_file("", {})), Error);
  EXPECT_EQ(names_in(directory.path()), (std::vector<std::string>{"directory", "file", "link"}));
  EXPECT_EQ(read_file(directory / "file"), "mine");
}

TEST(FileWriter, OfTwoWritersOfOneNameTheFirstToCommitWins) {
  TempDirectory directory;
  const auto first = CheckpointWriter::create_file(directory / "image", {.sync = false});
  {
    const auto second = CheckpointWriter::create_file(directory / "image", {.sync = false});
    EXPECT_EQ(names_in(directory.path()).size(), 2U) << "a live writer's file isn't stale";
    fill(*first);
    fill(*second);
    first->commit();
    EXPECT_THROW(second->commit(), Error);
  }
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"image"});
  verify_pages(CheckpointImage::open(directory / "image"));
}

TEST(FileWriter, RemovesWhatAKilledOneLeftAndNothingElse) {
  TempDirectory directory;
  std::ofstream(directory / "image.partial-abcdef") << "left";
  std::ofstream(directory / "image.partial-abcdefg") << "no writer's name";
  std::ofstream(directory / "other.partial-abcdef") << "another's";
  fs::create_directory(directory / "image.partial-abcde0");
  const auto writer = CheckpointWriter::create_file(directory / "image", {.sync = false});
  fill(*writer);
  writer->commit();
  EXPECT_EQ(names_in(directory.path()),
            (std::vector<std::string>{"image", "image.partial-abcde0", "image.partial-abcdefg",
                                      "other.partial-abcdef"}));
}

TEST(Delivery, IsToldByTheKindOfDescriptor) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd from(ends[0]);
  const Fd to(ends[1]);
  EXPECT_EQ(delivery_of(to.get()), Delivery::Taken);
  EXPECT_EQ(delivery_of(open_file("/dev/null", O_WRONLY).get()), Delivery::Unknown);
  EXPECT_EQ(delivery_of(Fd(::memfd_create("file", MFD_CLOEXEC)).get()), Delivery::Kept);
  EXPECT_EQ(delivery_of(Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)).get()), Delivery::Sent);
  EXPECT_EQ(delivery_of(Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)).get()), Delivery::Taken);
}

}  // namespace
}  // namespace godwit
