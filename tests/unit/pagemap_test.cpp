#include "kernel/pagemap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace godwit {
namespace {

std::vector<PageRange> anonymous(uint64_t start, uint64_t end) {
  const PageRange area{start, end};
  return Pagemap(getpid()).anonymous(std::span(&area, 1));
}

class MappedPages {
 public:
  explicit MappedPages(size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS)
      : bytes_(pages * 4096),
        start_(static_cast<char*>(::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, -1, 0))) {
    ::madvise(start_, bytes_, MADV_NOHUGEPAGE);
  }
  MappedPages(const MappedPages&) = delete;
  MappedPages& operator=(const MappedPages&) = delete;
  ~MappedPages() { ::munmap(start_, bytes_); }
  [[nodiscard]] volatile char& page(size_t n) { return start_[n * 4096]; }
  [[nodiscard]] uint64_t address(size_t n) const { return reinterpret_cast<uint64_t>(start_) + n * 4096; }

 private:
  size_t bytes_;
  char* start_;
};

TEST(Pagemap, FindsWhatWasWritten) {
  MappedPages memory(64);
  memory.page(3) = 1;
  memory.page(4) = 1;
  memory.page(40) = 1;
  const auto found = anonymous(memory.address(0), memory.address(64));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].start, memory.address(3));
  EXPECT_EQ(found[0].end, memory.address(5));
  EXPECT_EQ(found[1].start, memory.address(40));
  EXPECT_EQ(found[1].end, memory.address(41));
  EXPECT_FALSE(found[0].guard);
}

TEST(Pagemap, ManyRegionsAreAllReported) {
  constexpr size_t kPages = 2 * 700;
  MappedPages memory(kPages);
  for (size_t n = 0; n < kPages; n += 2) {
    memory.page(n) = 1;
  }
  const auto found = anonymous(memory.address(0), memory.address(kPages));
  ASSERT_EQ(found.size(), kPages / 2);
  for (size_t n = 0; n < found.size(); ++n) {
    EXPECT_EQ(found[n].start, memory.address(2 * n));
  }
}

TEST(Pagemap, SharedMemoryIsNotAnonymous) {
  MappedPages memory(4, MAP_SHARED | MAP_ANONYMOUS);
  memory.page(1) = 1;
  EXPECT_TRUE(anonymous(memory.address(0), memory.address(4)).empty());
}

TEST(Pagemap, EntriesSayWhatIsPresent) {
  MappedPages memory(2);
  memory.page(1) = 1;
  std::array<PagemapEntry, 2> entries;
  Pagemap(getpid()).read(memory.address(0), entries);
  EXPECT_FALSE(entries[0].present());
  EXPECT_TRUE(entries[1].present());
  EXPECT_FALSE(entries[1].of_file());
  EXPECT_FALSE(entries[0].same_page(entries[1]));
}

TEST(PagemapEntry, SamePageNeedsAFrame) {
  const PagemapEntry hidden(uint64_t{1} << 63);
  EXPECT_FALSE(hidden.same_page(hidden));
  const PagemapEntry known(uint64_t{1} << 63 | 77);
  EXPECT_TRUE(known.same_page(PagemapEntry(uint64_t{1} << 63 | uint64_t{1} << 56 | 77)));
  EXPECT_FALSE(known.same_page(PagemapEntry(uint64_t{1} << 62 | 77)));
  EXPECT_FALSE(known.same_page(PagemapEntry(uint64_t{1} << 63 | 78)));
}

}  // namespace
}  // namespace godwit
