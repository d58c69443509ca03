#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_reader.h"
#include "images-format/frame.h"
#include "images-format/hash.h"
#include "images-format/task.pb.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::byte> load(const std::string& path) {
  const std::string text = read_file(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void store(const std::string& path, std::span<const std::byte> bytes) {
  const Fd file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  write_all(file.get(), bytes, path);
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

/// The error's text; empty: accepted.
std::string open_and_verify(const std::string& path) {
  try {
    verify_pages(CheckpointImage::open_directory(path));
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

class ImageFault : public testing::TestWithParam<image::PageBlock::Codec> {
 protected:
  ImageFault() : path_(directory_ / "image") {
    write_sample(path_, {.codec = GetParam(), .sync = false});
    metadata_ = load(path_ + "/checkpoint");
    pages_.bytes() = load(path_ + "/pages");
  }

  /// Reads from memory: the error's text; empty: accepted.
  std::string read(std::span<const std::byte> metadata) {
    try {
      MemorySource source(metadata);
      verify_pages(CheckpointImage::read(source, std::make_unique<MemoryPages>(pages_),
                                         PayloadSizes{pages_.bytes().size()}));
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }

  TempDirectory directory_;
  std::string path_;
  std::vector<std::byte> metadata_;
  MemoryPages pages_;
};

TEST_P(ImageFault, MetadataTruncatedAnywhereIsRefused) {
  ASSERT_EQ(read(metadata_), "");
  for (size_t length = 0; length < metadata_.size(); ++length) {
    ASSERT_NE(read(std::span(metadata_).first(length)), "") << "cut at " << length;
  }
}

TEST_P(ImageFault, AFlippedBitAnywhereInTheMetadataIsRefused) {
  for (size_t at = 0; at < metadata_.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      metadata_[at] ^= static_cast<std::byte>(1U << bit);
      ASSERT_NE(read(metadata_), "") << "byte " << at << " bit " << bit;
      metadata_[at] ^= static_cast<std::byte>(1U << bit);
    }
  }
}

TEST_P(ImageFault, AFlippedBitAnywhereInThePagesIsFound) {
  MemorySource source(metadata_);
  auto owned = std::make_unique<MemoryPages>(pages_);
  std::vector<std::byte>& bytes = owned->bytes();
  const size_t size = bytes.size();
  const CheckpointImage image = CheckpointImage::read(source, std::move(owned), {size});
  ASSERT_NO_THROW(verify_pages(image));
  for (size_t at = 0; at < size; ++at) {
    const auto bit = static_cast<std::byte>(1U << (at % 8));
    bytes[at] ^= bit;
    ASSERT_THROW(verify_pages(image), Error) << "byte " << at;
    bytes[at] ^= bit;
  }
}

TEST_P(ImageFault, SomethingBehindTheEndIsRefused) {
  metadata_.push_back(std::byte{0});
  EXPECT_NE(read(metadata_), "");
  metadata_.pop_back();
  const std::vector<std::byte> twice(metadata_.begin() + 16, metadata_.end());
  metadata_.insert(metadata_.end(), twice.begin(), twice.end());
  EXPECT_THAT(read(metadata_), HasSubstr("behind the closing frame"));
}

TEST_P(ImageFault, PagesOfAnotherLengthAreRefused) {
  const std::string file = path_ + "/pages";
  fs::resize_file(file, pages_.bytes().size() - 1);
  EXPECT_THAT(open_and_verify(path_), HasSubstr("bytes of pages"));
  fs::resize_file(file, pages_.bytes().size() + 4096);
  EXPECT_THAT(open_and_verify(path_), HasSubstr("bytes of pages"));
  fs::remove(file);
  EXPECT_THAT(open_and_verify(path_), HasSubstr("pages"));
}

INSTANTIATE_TEST_SUITE_P(Codecs, ImageFault, testing::Values(image::PageBlock::NONE, image::PageBlock::ZSTD),
                         [](const auto& codec) {
                           return codec.param == image::PageBlock::NONE ? "None" : "Zstd";
                         });

/// A directory with the sample's pages and `metadata`.
std::string verdict_of_metadata(std::span<const std::byte> metadata) {
  TempDirectory directory;
  write_sample(directory / "image");
  store(directory / "image/checkpoint", metadata);
  return open_and_verify(directory / "image");
}

std::string verdict_of_text(std::string_view text) {
  return verdict_of_metadata(std::as_bytes(std::span(text)));
}

TEST(ForeignImage, IsRefusedByName) {
  TempDirectory directory;
  EXPECT_THAT(open_and_verify(directory / "nowhere"), AllOf(HasSubstr("nowhere"), HasSubstr("No such file")));
  EXPECT_THAT(open_and_verify(directory.path()), HasSubstr("has no file 'checkpoint'"));
  EXPECT_THAT(verdict_of_text(""), HasSubstr("is empty"));
  EXPECT_THAT(verdict_of_text("\x7f"
                              "ELF, but not really"),
              HasSubstr("isn't a checkpoint of godwit"));
  EXPECT_THAT(verdict_of_text("\x89godwi"), HasSubstr("incomplete"));
  write_sample(directory / "image");
  fs::remove(directory / "image/checkpoint");
  ASSERT_EQ(::mkfifo((directory / "image/checkpoint").c_str(), 0600), 0);
  EXPECT_THAT(open_and_verify(directory / "image"), HasSubstr("isn't a regular file"));
}

TEST(NewerImage, IsRefusedByItsVersion) {
  TempDirectory directory;
  write_sample(directory / "image");
  std::vector<std::byte> metadata = load(directory / "image/checkpoint");
  metadata[8] = std::byte{2};
  EXPECT_THAT(verdict_of_metadata(metadata), AllOf(HasSubstr("format version 2"), HasSubstr("newer")));
}

void append_frame(std::vector<std::byte>& out, uint32_t type, std::span<const std::byte> payload) {
  struct {
    uint32_t type;
    uint32_t length;
    uint64_t checksum;
  } const header = {type, static_cast<uint32_t>(payload.size()), hash_bytes(payload, type)};
  const auto bytes = std::as_bytes(std::span(&header, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
  out.insert(out.end(), payload.begin(), payload.end());
}

TEST(NewerImage, UnknownRecordTypesAreRefusedByNumber) {
  TempDirectory directory;
  write_sample(directory / "image");
  std::vector<std::byte> metadata = load(directory / "image/checkpoint");
  metadata.resize(16);
  append_frame(metadata, 77, std::vector<std::byte>(5));
  EXPECT_THAT(verdict_of_metadata(metadata), AllOf(HasSubstr("type 77"), HasSubstr("newer godwit")));
}

TEST(NewerImage, UnknownFieldsAreKept) {
  TempDirectory directory;
  {
    const auto writer = CheckpointWriter::create_directory(directory / "image", {.sync = false});
    for (const Record& record : sample_records(writer->pages())) {
      if (record.type == RecordType::Task) {
        record.message->GetReflection()->MutableUnknownFields(record.message.get())->AddVarint(4000, 42);
      }
      writer->add(*record.message);
    }
    writer->commit();
  }
  const CheckpointImage image = CheckpointImage::open_directory(directory / "image");
  for (const image::Task* task : image.all<image::Task>()) {
    const auto& unknown = task->GetReflection()->GetUnknownFields(*task);
    ASSERT_EQ(unknown.field_count(), 1);
    EXPECT_EQ(unknown.field(0).varint(), 42U);
  }
}

TEST(HostileFrame, ALongLengthDoesntMakeALongAllocation) {
  TempDirectory directory;
  write_sample(directory / "image");
  std::vector<std::byte> metadata = load(directory / "image/checkpoint");
  for (const uint32_t length : {kMaxFrameBytes, kMaxFrameBytes + 1, UINT32_MAX}) {
    std::memcpy(metadata.data() + 20, &length, sizeof(length));
    EXPECT_NE(verdict_of_metadata(metadata), "");
  }
}

TEST(FullDisk, IsAnErrorAndLeavesNothing) {
  TempDirectory directory;
  if (::mount("godwit-test", directory.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
    GTEST_SKIP() << "no small file system without the right to mount: " << std::strerror(errno);
  }
  const std::unique_ptr<const std::string, void (*)(const std::string*)> mounted(
      &directory.path(), [](const std::string* path) { ::umount2(path->c_str(), MNT_DETACH); });
  {
    const auto writer = CheckpointWriter::create_directory(directory / "image", {});
    const auto block = noise(16, 1);
    try {
      for (int i = 0; i < 100; ++i) {
        writer->pages().write_block(block);
      }
      FAIL() << "6 MB fit into 256 KB";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ENOSPC) << e.what();
    }
  }
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
  {
    const auto writer = CheckpointWriter::create_directory(directory / "image", {});
    for (const Record& record : sample_records(writer->pages())) {
      writer->add(*record.message);
    }
    const Fd filler = open_file(directory / "filler", O_WRONLY | O_CREAT, 0600);
    const auto page = noise(1, 1);
    while (::write(filler.get(), page.data(), page.size()) > 0) {
    }
    EXPECT_THROW(writer->commit(), Error) << "the metadata doesn't fit any more";
  }
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"filler"});
}

/// A writer in a child process that writes until it is killed.
void kill_a_writer(const std::string& path) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto writer = CheckpointWriter::create_directory(path, {.sync = false});
    const auto block = noise(1, 1);
    for (bool said = false; writer->pages().write_block(block).offset() < 64 * kBlockBytes;) {
      if (!said) {
        said = ::write(ready[1], "x", 1) == 1;
      }
    }
    ::pause();
    ::_exit(0);
  }
  ::close(ready[1]);
  ASSERT_GT(child, 0);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(ready[0]);
}

TEST(KilledWriter, LeavesNoFinalNameAndTheNextOneCleansUp) {
  TempDirectory directory;
  kill_a_writer(directory / "image");
  kill_a_writer(directory / "other");
  EXPECT_FALSE(fs::exists(directory / "image"));
  ASSERT_EQ(names_in(directory.path()).size(), 2U);
  write_sample(directory / "image");
  EXPECT_EQ(open_and_verify(directory / "image"), "");
  ASSERT_EQ(names_in(directory.path()).size(), 2U) << "what is another checkpoint's stays";
  write_sample(directory / "other");
  EXPECT_THAT(names_in(directory.path()), testing::UnorderedElementsAre("image", "other"));
}

TEST(KilledWriter, WhatSomebodyElsePutThereStays) {
  TempDirectory directory;
  fs::create_directory(directory / "image.partial-abcdef");
  store(directory / "image.partial-abcdef/notes", {});
  write_sample(directory / "image");
  EXPECT_TRUE(fs::exists(directory / "image.partial-abcdef/notes"));
}

TEST(ManyWriters, OfOneNameExactlyOneWins) {
  TempDirectory directory;
  std::atomic<int> committed = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        try {
          write_sample(directory / "image");
          ++committed;
        } catch (const Error&) {
        }
      });
    }
  }
  EXPECT_EQ(committed, 1);
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"image"});
  EXPECT_EQ(open_and_verify(directory / "image"), "");
}

TEST(Writer, PagesThatNoIndexMentionsAreFoundAtCommit) {
  TempDirectory directory;
  const auto writer = CheckpointWriter::create_directory(directory / "image", {.sync = false});
  for (const Record& record : sample_records(writer->pages())) {
    writer->add(*record.message);
  }
  writer->pages().write_block(noise(1, 9));
  EXPECT_THROW(writer->commit(), Error);
  EXPECT_FALSE(fs::exists(directory / "image"));
}

}  // namespace
}  // namespace godwit
