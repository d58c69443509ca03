#include "images-format/page_store.h"

#include <algorithm>

#include "kernel/error.h"

namespace godwit {

namespace {

// Page numbers above are beyond any 64-bit address or offset.
constexpr uint64_t kMaxPages = UINT64_MAX / kPageSize;

uint64_t pages_in_blocks(const image::MemoryObject& object) {
  uint64_t pages = 0;
  for (const image::PageBlock& block : object.blocks()) {
    if (block.pages() == 0 || block.pages() > kPagesPerBlock) {
      throw error("block at {:#x} of the payload has {} pages, not 1 to {}", block.offset(), block.pages(),
                  kPagesPerBlock);
    }
    pages += block.pages();
  }
  return pages;
}

}  // namespace

void MemoryIndexBuilder::add_run(uint64_t first_page, uint64_t pages, image::PageKind kind) {
  if (pages == 0) {
    return;
  }
  const uint64_t end = runs_.empty() ? 0 : runs_.back().first + runs_.back().count;
  if (first_page < end) {
    throw error("pages from {:#x} are indexed after pages up to {:#x}", first_page, end);
  }
  if (!runs_.empty() && first_page == end && runs_.back().kind == kind) {
    runs_.back().count += pages;
    return;
  }
  runs_.push_back({first_page, pages, kind});
}

void MemoryIndexBuilder::add_block(image::PageBlock block) {
  blocks_.push_back(std::move(block));
}

image::MemoryObject MemoryIndexBuilder::finish(uint64_t id) && {
  image::MemoryObject object;
  object.set_id(id);
  const auto runs = static_cast<int>(runs_.size());
  object.mutable_run_first()->Reserve(runs);
  object.mutable_run_count()->Reserve(runs);
  object.mutable_run_kind()->Reserve(runs);
  uint64_t end = 0;
  for (const Run& run : runs_) {
    object.add_run_first(run.first - end);
    object.add_run_count(run.count);
    object.add_run_kind(static_cast<uint32_t>(run.kind));
    end = run.first + run.count;
  }
  object.mutable_blocks()->Reserve(static_cast<int>(blocks_.size()));
  for (image::PageBlock& block : blocks_) {
    *object.add_blocks() = std::move(block);
  }
  return object;
}

std::vector<PageRun> decode_runs(const image::MemoryObject& object) {
  if (object.run_first_size() != object.run_count_size() ||
      object.run_first_size() != object.run_kind_size()) {
    throw error("the index has {} starts, {} lengths and {} kinds of runs", object.run_first_size(),
                object.run_count_size(), object.run_kind_size());
  }
  std::vector<PageRun> runs;
  runs.reserve(static_cast<size_t>(object.run_first_size()));
  uint64_t end = 0;
  uint64_t present = 0;
  for (int i = 0; i < object.run_first_size(); ++i) {
    const uint64_t gap = object.run_first(i);
    const uint64_t count = object.run_count(i);
    const uint32_t kind = object.run_kind(i);
    if (count == 0 || gap > kMaxPages - end || count > kMaxPages - end - gap) {
      throw error("run {} of the index, {:#x} pages after {:#x} more, is impossible", i, count, gap);
    }
    if (kind > INT32_MAX || !image::PageKind_IsValid(static_cast<int>(kind))) {
      throw Error(fmt::format("run {} of the index is of the unknown kind {}", i, kind), 0,
                  "the checkpoint comes from a newer godwit");
    }
    runs.push_back({end + gap, count, static_cast<image::PageKind>(kind), 0});
    end += gap + count;
    if (kind == image::PAGE_PRESENT) {
      runs.back().first_present = present;
      present += count;
    }
  }
  if (const uint64_t stored = pages_in_blocks(object); stored != present) {
    throw error("the index has {} present pages, but the blocks hold {}", present, stored);
  }
  return runs;
}

void for_each_block(const image::MemoryObject& object,
                    const std::function<void(const image::PageBlock&, std::span<const BlockPiece>)>& visit) {
  const std::vector<PageRun> runs = decode_runs(object);
  std::vector<BlockPiece> pieces;
  auto run = runs.begin();
  uint64_t used = 0;  // pages of *run that earlier blocks hold
  for (const image::PageBlock& block : object.blocks()) {
    pieces.clear();
    uint64_t filled = 0;
    while (filled < block.pages()) {
      // decode_runs has found as many present pages as the blocks hold: the runs can't end first.
      if (run->kind != image::PAGE_PRESENT || used == run->count) {
        ++run;
        used = 0;
        continue;
      }
      const uint64_t pages = std::min<uint64_t>(run->count - used, block.pages() - filled);
      pieces.push_back({.first_page = run->first + used, .page_in_block = filled, .pages = pages});
      used += pages;
      filled += pages;
    }
    visit(block, pieces);
  }
}

}  // namespace godwit
