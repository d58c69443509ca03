#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "images-format/memory.pb.h"
#include "kernel/error.h"
#include "restore/file.h"

namespace godwit {
namespace {

/// Zeros are in the index alone: nobody may ask for a block of them.
class NoPages final : public PageSource {
 public:
  void read_block(const image::PageBlock&, std::span<std::byte>) const override {
    throw Error{"a block was asked for"};
  }
};

/// A checkpoint with one unlinked file of `pages` pages, all of them zeros: a few bytes of image.
CheckpointImage zeros(uint64_t pages) {
  auto file = std::make_unique<image::File>();
  file->set_id(1);
  file->set_path("/tmp/godwit-zeros");
  file->set_mode(S_IFREG | 0600);
  file->set_size(pages * kPageSize);
  file->mutable_ghost()->set_memory_object(1);
  auto content = std::make_unique<image::MemoryObject>();
  content->set_id(1);
  content->add_run_first(0);
  content->add_run_count(pages);
  content->add_run_kind(image::PAGE_ZERO);
  std::vector<Record> records;
  records.push_back({RecordType::Checkpoint, std::make_unique<image::Checkpoint>()});
  records.push_back({RecordType::File, std::move(file)});
  records.push_back({RecordType::MemoryObject, std::move(content)});
  return {std::move(records), std::make_unique<NoPages>()};
}

TEST(FileOpener, ZerosOfAnImageDontFillTheDisk) {
  const CheckpointImage image = zeros(uint64_t{1} << 40);
  try {
    const FileOpener files(image, 300);
    FAIL() << "4 PiB of zeros were written";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("there is room for"));
  }
}

TEST(FileOpener, SomeZerosAreWritten) {
  const CheckpointImage image = zeros(100);
  const FileOpener files(image, 300);
  struct stat status {};
  ASSERT_EQ(::fstat(300, &status), 0);
  EXPECT_EQ(status.st_size, 100 * static_cast<off_t>(kPageSize));
  EXPECT_GE(status.st_blocks, 100 * 8) << "they are no hole";
}

}  // namespace
}  // namespace godwit
