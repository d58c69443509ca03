#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "dump/memory.h"
#include "kernel/error.h"

namespace godwit {
namespace {

/// Keeps blocks in memory.
class Sink : public PageSink {
 public:
  image::PageBlock write_block(std::span<const std::byte> pages) override {
    const std::lock_guard guard(lock_);
    if (full) {
      throw error("no room");
    }
    image::PageBlock block;
    block.set_offset(bytes.size());
    block.set_stored_bytes(static_cast<uint32_t>(pages.size()));
    block.set_pages(static_cast<uint32_t>(pages.size() / kPageSize));
    bytes.insert(bytes.end(), pages.begin(), pages.end());
    return block;
  }
  std::vector<std::byte> bytes;
  bool full = false;

 private:
  std::mutex lock_;
};

class Records : public CheckpointWriter {
 public:
  explicit Records(Sink& sink) : sink_(sink) {}
  void add(const google::protobuf::Message& record) override {
    objects.push_back(dynamic_cast<const image::MemoryObject&>(record));
  }
  PageSink& pages() override { return sink_; }
  void commit() override {}
  [[nodiscard]] CheckpointName name() const override { return {}; }
  void retract() noexcept override {}
  void part() noexcept override {}
  std::vector<image::MemoryObject> objects;

 private:
  Sink& sink_;
};

/// Some pages of this process: page n is filled with n % 5, so that every fifth holds only zeros.
class Pages {
 public:
  explicit Pages(size_t count) : bytes_(count * kPageSize) {
    start_ = static_cast<char*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t n = 0; n < count; ++n) {
      std::memset(start_ + n * kPageSize, static_cast<int>(n % 5), kPageSize);
    }
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { ::munmap(start_, bytes_); }
  [[nodiscard]] uint64_t first() const { return reinterpret_cast<uint64_t>(start_) / kPageSize; }
  void forbid() { ::mprotect(start_, bytes_, PROT_NONE); }

 private:
  size_t bytes_;
  char* start_;
};

/// The fill byte of every page of the object, as its index says.
std::map<uint64_t, int> content(const image::MemoryObject& object, const Sink& sink) {
  std::map<uint64_t, int> found;
  for (const PageRun& run : decode_runs(object)) {
    for (uint64_t i = 0; i < run.count && run.kind == image::PAGE_ZERO; ++i) {
      found[run.first + i] = 0;
    }
  }
  for_each_block(object, [&](const image::PageBlock& block, std::span<const BlockPiece> pieces) {
    for (const BlockPiece& piece : pieces) {
      for (uint64_t i = 0; i < piece.pages; ++i) {
        found[piece.first_page + i] =
            static_cast<int>(sink.bytes[block.offset() + (piece.page_in_block + i) * kPageSize + 77]);
      }
    }
  });
  return found;
}

void expect_every_page(unsigned threads, bool readable, const Pagemap* sharing) {
  constexpr size_t kCount = 1000;
  Pages pages(kCount);
  if (!readable) {
    pages.forbid();
  }
  Sink sink;
  Records records(sink);
  MemoryCopier copier(sink, threads);
  const MemoryCopier::Object object = copier.add_address_space(7, ::getpid(), sharing);
  // Long and short stretches, with a hole after each.
  std::map<uint64_t, int> expected;
  for (size_t at = 0, length = 1; at + length <= kCount; at += length + 1, length = length * 2 % 301) {
    copier.add_pages(object, pages.first() + at, length, readable);
    for (size_t n = at; n < at + length; ++n) {
      expected[pages.first() + n] = static_cast<int>(n % 5);
    }
  }
  copier.copy([](uint64_t, uint64_t) {});
  copier.write(records);
  ASSERT_EQ(records.objects.size(), 1U);
  EXPECT_EQ(records.objects[0].id(), 7U);
  EXPECT_EQ(content(records.objects[0], sink), expected);
  EXPECT_EQ(copier.totals().pages + copier.totals().zero_pages, expected.size());
  EXPECT_EQ(copier.totals().stored_bytes, sink.bytes.size());
}

TEST(MemoryCopier, EveryPageIsFoundAgain) {
  expect_every_page(1, true, nullptr);
  expect_every_page(3, true, nullptr);
}

TEST(MemoryCopier, MemoryThatForbidsReading) {
  expect_every_page(2, false, nullptr);
}

TEST(MemoryCopier, MemoryThatMayBeShared) {
  const Pagemap pagemap(::getpid());
  expect_every_page(2, true, &pagemap);
}

TEST(MemoryCopier, InheritedPagesStandBetweenCopiedOnes) {
  Pages pages(8);
  Sink sink;
  Records records(sink);
  MemoryCopier copier(sink, 1);
  const MemoryCopier::Object object = copier.add_address_space(1, ::getpid(), nullptr);
  copier.add_pages(object, pages.first() + 1, 2);
  copier.add_inherited(object, pages.first() + 3, 2);
  copier.add_pages(object, pages.first() + 6, 1);
  copier.copy([](uint64_t, uint64_t) {});
  copier.write(records);
  const std::vector<PageRun> runs = decode_runs(records.objects.at(0));
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[0].kind, image::PAGE_PRESENT);
  EXPECT_EQ(runs[1].kind, image::PAGE_INHERITED);
  EXPECT_EQ(runs[1].first, pages.first() + 3);
  EXPECT_EQ(runs[1].count, 2U);
  EXPECT_EQ(runs[2].first, pages.first() + 6);
  EXPECT_EQ(copier.totals().inherited_pages, 2U);
}

TEST(MemoryCopier, FileThatEndsWithinAPage) {
  Fd file(::memfd_create("copier", MFD_CLOEXEC));
  const std::string text(kPageSize + 10, 'x');
  ASSERT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  Sink sink;
  Records records(sink);
  MemoryCopier copier(sink, 1);
  copier.add_pages(copier.add_file(3, std::move(file)), 0, 2);
  copier.copy([](uint64_t, uint64_t) {});
  ASSERT_EQ(sink.bytes.size(), 2 * kPageSize);
  EXPECT_EQ(std::memcmp(sink.bytes.data(), text.data(), text.size()), 0);
  EXPECT_TRUE(std::all_of(sink.bytes.begin() + static_cast<long>(text.size()), sink.bytes.end(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(MemoryCopier, FailureInAnyThreadIsReported) {
  Pages pages(1000);
  Sink sink;
  sink.full = true;
  MemoryCopier copier(sink, 3);
  copier.add_pages(copier.add_address_space(1, ::getpid(), nullptr), pages.first(), 1000);
  EXPECT_THROW(copier.copy([](uint64_t, uint64_t) {}), Error);
}

}  // namespace
}  // namespace godwit
