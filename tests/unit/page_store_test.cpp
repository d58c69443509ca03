#include "images-format/page_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>

#include "images-format/partial_directory.h"
#include "images-format/payload.h"
#include "kernel/error.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

struct Piece {
  size_t block;
  uint64_t first_page;
  uint64_t page_in_block;
  uint64_t pages;
  bool operator==(const Piece&) const = default;
};

std::vector<Piece> pieces(const image::MemoryObject& object) {
  std::vector<Piece> found;
  size_t index = 0;
  for_each_block(object, [&](const image::PageBlock&, std::span<const BlockPiece> in_block) {
    for (const BlockPiece& piece : in_block) {
      found.push_back({index, piece.first_page, piece.page_in_block, piece.pages});
    }
    ++index;
  });
  return found;
}

image::PageBlock block_of(uint32_t pages) {
  image::PageBlock block;
  block.set_pages(pages);
  return block;
}

TEST(MemoryIndex, AdjoiningRunsOfAKindMerge) {
  MemoryIndexBuilder builder;
  builder.add_run(10, 2, image::PAGE_ZERO);
  builder.add_run(12, 3, image::PAGE_ZERO);
  builder.add_run(15, 1, image::PAGE_HOLE);
  builder.add_run(17, 1, image::PAGE_HOLE);
  builder.add_run(20, 0, image::PAGE_ZERO);
  const auto runs = decode_runs(std::move(builder).finish(7));
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[0].first, 10U);
  EXPECT_EQ(runs[0].count, 5U);
  EXPECT_EQ(runs[1].first, 15U);
  EXPECT_EQ(runs[1].kind, image::PAGE_HOLE);
  EXPECT_EQ(runs[2].first, 17U);
}

TEST(MemoryIndex, RunsOutOfOrderAreRefused) {
  MemoryIndexBuilder builder;
  builder.add_run(10, 2, image::PAGE_ZERO);
  EXPECT_THROW(builder.add_run(11, 1, image::PAGE_ZERO), Error);
}

TEST(MemoryIndex, BlocksAreCutWhereRunsEnd) {
  MemoryIndexBuilder builder;
  builder.add_run(0, 3, image::PAGE_PRESENT);
  builder.add_run(3, 1, image::PAGE_ZERO);
  builder.add_run(9, 4, image::PAGE_PRESENT);
  builder.add_block(block_of(2));
  builder.add_block(block_of(5));
  const image::MemoryObject object = std::move(builder).finish(1);
  const std::vector<Piece> expected = {{0, 0, 0, 2}, {1, 2, 0, 1}, {1, 9, 1, 4}};
  EXPECT_EQ(pieces(object), expected);
  const auto runs = decode_runs(object);
  EXPECT_EQ(runs[2].first_present, 3U);
}

TEST(MemoryIndex, AnEmptyObjectHasNothing) {
  const image::MemoryObject object = MemoryIndexBuilder().finish(1);
  EXPECT_TRUE(decode_runs(object).empty());
  EXPECT_TRUE(pieces(object).empty());
}

TEST(MemoryIndex, ContradictionsAreRefused) {
  const auto refused = [](const std::function<void(image::MemoryObject&)>& damage) {
    MemoryIndexBuilder builder;
    builder.add_run(5, 3, image::PAGE_PRESENT);
    builder.add_block(block_of(3));
    image::MemoryObject object = std::move(builder).finish(1);
    EXPECT_NO_THROW(static_cast<void>(decode_runs(object)));
    damage(object);
    EXPECT_THROW(static_cast<void>(decode_runs(object)), Error);
    EXPECT_THROW(pieces(object), Error);
  };
  refused([](auto& o) { o.add_run_first(1); });
  refused([](auto& o) { o.set_run_count(0, 0); });
  refused([](auto& o) { o.set_run_count(0, UINT64_MAX); });
  refused([](auto& o) { o.set_run_first(0, UINT64_MAX - 1); });
  refused([](auto& o) { o.set_run_kind(0, 99); });
  refused([](auto& o) { o.set_run_kind(0, UINT32_MAX); });
  refused([](auto& o) { o.set_run_kind(0, image::PAGE_ZERO); });
  refused([](auto& o) { o.mutable_blocks(0)->set_pages(2); });
  refused([](auto& o) { o.mutable_blocks(0)->set_pages(65); });
  refused([](auto& o) { o.mutable_blocks(0)->set_pages(0); });
}

class Payload : public testing::TestWithParam<image::PageBlock::Codec> {
 protected:
  PayloadWriter writer() {
    return {{.create =
                 [this](size_t index) {
                   ++files_;
                   return open_file(directory_ / payload_file(index), O_RDWR | O_CREAT, 0600);
                 },
             .name = payload_file},
            GetParam()};
  }
  PayloadReader reader() {
    std::vector<Fd> files;
    while (files.size() < files_) {
      files.push_back(open_file(directory_ / payload_file(files.size()), O_RDONLY));
    }
    return {std::move(files), "directory"};
  }
  size_t files_ = 0;
  TempDirectory directory_;
};

TEST_P(Payload, BlocksOfEverySizeComeBack) {
  PayloadWriter sink = writer();
  std::vector<std::pair<image::PageBlock, std::vector<std::byte>>> written;
  for (size_t pages = 1; pages <= kPagesPerBlock; ++pages) {
    for (auto& data : {noise(pages, pages), text(pages, pages)}) {
      written.emplace_back(sink.write_block(data), data);
    }
  }
  const PayloadReader source = reader();
  EXPECT_EQ(source.sizes(), sink.sizes());
  EXPECT_EQ(files_, 1U) << "one thread needs one file";
  for (const auto& [block, data] : written) {
    std::vector<std::byte> out(data.size());
    source.read_block(block, out);
    EXPECT_EQ(out, data);
    EXPECT_EQ(block.offset() % kPageSize, 0U);
  }
}

TEST_P(Payload, ManyThreadsWriteAndReadAtOnce) {
  PayloadWriter sink = writer();
  constexpr size_t kThreads = 4;
  constexpr size_t kBlocks = 40;
  std::array<std::vector<image::PageBlock>, kThreads> blocks;
  const auto data = [](size_t t, size_t i) {
    return i % 2 == 0 ? noise(1 + i % 5, t * 1000 + i) : text(1 + i, t * 1000 + i);
  };
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < kBlocks; ++i) {
          blocks[t].push_back(sink.write_block(data(t, i)));
        }
      });
    }
  }
  const PayloadReader source = reader();
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < kBlocks; ++i) {
          std::vector<std::byte> out(blocks[t][i].pages() * kPageSize);
          source.read_block(blocks[t][i], out);
          wrong += out != data(t, i) ? 1 : 0;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(files_, kThreads);
}

TEST_P(Payload, OnlyWhatShrinksIsCompressed) {
  PayloadWriter sink = writer();
  EXPECT_EQ(sink.write_block(noise(8, 1)).codec(), image::PageBlock::NONE);
  EXPECT_EQ(sink.write_block(text(1, 1)).codec(), image::PageBlock::NONE) << "one page can't save a page";
  EXPECT_EQ(sink.write_block(text(8, 1)).codec(), GetParam());
}

TEST_P(Payload, BlocksThatArentWholePagesAreRefused) {
  PayloadWriter sink = writer();
  const std::vector<std::byte> data(kBlockBytes + kPageSize);
  EXPECT_THROW(sink.write_block(std::span(data).first(0)), Error);
  EXPECT_THROW(sink.write_block(std::span(data).first(100)), Error);
  EXPECT_THROW(sink.write_block(data), Error);
}

TEST_P(Payload, DamagedBlocksAreRefused) {
  PayloadWriter sink = writer();
  const auto data = text(8, 1);
  const image::PageBlock good = sink.write_block(data);
  const PayloadReader source = reader();
  const auto refused = [&](const std::function<void(image::PageBlock&)>& damage) {
    image::PageBlock block = good;
    damage(block);
    std::vector<std::byte> out(data.size());
    EXPECT_THROW(source.read_block(block, out), Error) << block.ShortDebugString();
  };
  refused([](auto& b) { b.set_file(1); });
  refused([](auto& b) { b.set_offset(1); });
  refused([](auto& b) { b.set_offset(kPageSize * 1000); });
  refused([](auto& b) { b.set_offset(UINT64_MAX - kPageSize + 1); });
  refused([](auto& b) { b.set_hash(b.hash() ^ 1); });
  refused([](auto& b) { b.set_pages(9); });
  refused([](auto& b) { b.set_pages(0); });
  refused([](auto& b) { b.set_pages(UINT32_MAX); });
  refused([](auto& b) { b.set_stored_bytes(b.stored_bytes() - 1); });
  refused([](auto& b) { b.set_stored_bytes(0); });
  refused([](auto& b) { b.set_stored_bytes(UINT32_MAX); });
  refused([](auto& b) { b.set_codec(static_cast<image::PageBlock::Codec>(7)); });
  refused([](auto& b) {
    b.set_codec(b.codec() == image::PageBlock::NONE ? image::PageBlock::ZSTD : image::PageBlock::NONE);
  });
  std::vector<std::byte> small(data.size() - kPageSize);
  EXPECT_THROW(source.read_block(good, small), Error);
}

INSTANTIATE_TEST_SUITE_P(Codecs, Payload, testing::Values(image::PageBlock::NONE, image::PageBlock::ZSTD),
                         [](const auto& codec) {
                           return codec.param == image::PageBlock::NONE ? "None" : "Zstd";
                         });

}  // namespace
}  // namespace godwit
