#pragma once

#include <functional>
#include <span>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/page_store.h"

/// Pages of incremental checkpoints, which lie partly in the checkpoint's parent, its parent's parent and so
/// on. Whoever reads the pages of an address space asks here, and needn't know of parents.
namespace godwit {

/// Page numbers [first, end).
struct PageSpan {
  uint64_t first;
  uint64_t end;
};

/// The pages of `runs` of the kinds for which `wanted` says so; ascending, adjoining ones merged.
[[nodiscard]] std::vector<PageSpan> pages_of_kind(std::span<const PageRun> runs,
                                                  const std::function<bool(image::PageKind)>& wanted);
/// What both have; both ascending, without overlaps.
[[nodiscard]] std::vector<PageSpan> intersection(std::span<const PageSpan> a, std::span<const PageSpan> b);

/// The content of such a page can be had: from a block, as zero, or from the parent checkpoint. Those that
/// came from a parent task aren't among them, nor are holes.
[[nodiscard]] bool has_content(image::PageKind kind);

/// The runs of an object of `image`, those that are in parents as what they are there: PAGE_PRESENT or
/// PAGE_ZERO. `first_present` isn't set.
[[nodiscard]] std::vector<PageRun> runs_with_parents(const CheckpointImage& image,
                                                     const image::MemoryObject& object);

/// Like for_each_block, also for the blocks of parents that hold pages of the object, with those pieces of
/// them that are the object's.
void for_each_block_with_parents(const CheckpointImage& image, const image::MemoryObject& object,
                                 const std::function<void(const PageSource& source, const image::PageBlock&,
                                                          std::span<const BlockPiece>)>& visit);

/// Throws Error unless `parent` has the content of every page that these records say it has.
void validate_parent(const std::vector<Record>& records, const CheckpointImage& parent);

}  // namespace godwit
