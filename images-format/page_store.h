#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "images-format/memory.pb.h"

namespace godwit {

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kPagesPerBlock = 64;
inline constexpr size_t kBlockBytes = kPageSize * kPagesPerBlock;

// A checkpoint begins with small blocks: where there is little memory, touching a large buffer for the first
// time would take as long as copying through it.
inline constexpr size_t kSmallBlocks = 64;
inline constexpr size_t kSmallBlockPages = 16;

/// Length of each file of a payload, in bytes. There is at least one.
using PayloadSizes = std::vector<uint64_t>;
inline constexpr size_t kMaxPayloadFiles = 8;

/// Pages on their way into the payload. Any number of threads may write blocks at once.
class PageSink {
 public:
  virtual ~PageSink() = default;
  /// `pages` holds 1 to kPagesPerBlock whole pages. Returns the block's entry for the index.
  /// Throws Error (a full disk).
  virtual image::PageBlock write_block(std::span<const std::byte> pages) = 0;
};

/// Pages on their way back. Any number of threads may read at once.
class PageSource {
 public:
  virtual ~PageSource() = default;
  /// Fills `out`, whose size is that of the whole block's pages. Throws Error, also for a wrong checksum;
  /// what `out` holds then is undefined.
  virtual void read_block(const image::PageBlock& block, std::span<std::byte> out) const = 0;
};

/// Puts a MemoryObject's index together from runs in ascending order. Adjoining runs of a kind merge.
class MemoryIndexBuilder {
 public:
  void add_run(uint64_t first_page, uint64_t pages, image::PageKind kind);
  /// Blocks in the order of the present pages that they hold.
  void add_block(image::PageBlock block);
  [[nodiscard]] image::MemoryObject finish(uint64_t id) &&;

 private:
  struct Run {
    uint64_t first;
    uint64_t count;
    image::PageKind kind;
  };
  std::vector<Run> runs_;
  std::vector<image::PageBlock> blocks_;
};

/// One run of an index.
struct PageRun {
  uint64_t first;  // page number
  uint64_t count;
  image::PageKind kind;
  uint64_t first_present;  // PAGE_PRESENT: how many present pages of the object stand before this run
};

/// The runs of an object, ascending. Throws Error for an index that contradicts itself (arrays of
/// unequal length, overflow, present pages that aren't as many as the blocks hold).
[[nodiscard]] std::vector<PageRun> decode_runs(const image::MemoryObject& object);

/// Pages of one block that belong together: `pages` pages at page number `first_page` of the object,
/// beginning with page `page_in_block` of the block.
struct BlockPiece {
  uint64_t first_page;
  uint64_t page_in_block;
  uint64_t pages;
};

/// Says for each block which pages of the object it holds. `visit` may be called for any block in any
/// order, but is called for one after the other, ascending.
void for_each_block(const image::MemoryObject& object,
                    const std::function<void(const image::PageBlock&, std::span<const BlockPiece>)>& visit);

}  // namespace godwit
