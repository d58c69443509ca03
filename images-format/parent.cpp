#include "images-format/parent.h"

#include <algorithm>

#include "images-format/validate_index.h"
#include "kernel/error.h"

namespace godwit {

namespace {

bool in_parent(image::PageKind kind) {
  return kind == image::PAGE_IN_PARENT;
}

/// Null: there is none.
const image::MemoryObject* find_object(const CheckpointImage& image, uint64_t id) {
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    if (object->id() == id) {
      return object;
    }
  }
  return nullptr;
}

/// The object that has the pages of `object` which are in the parent.
const image::MemoryObject& object_above(const CheckpointImage& image, const image::MemoryObject& object) {
  const image::MemoryObject* found =
      image.parent() == nullptr ? nullptr : find_object(*image.parent(), object.parent_object());
  if (found == nullptr) {
    throw error("memory object {}: the parent that has pages of it isn't there", object.id());
  }
  return *found;
}

/// The parts of pieces of a block that lie in `pages`.
std::vector<BlockPiece> pieces_within(std::span<const BlockPiece> pieces, std::span<const PageSpan> pages) {
  std::vector<BlockPiece> found;
  for (const BlockPiece& piece : pieces) {
    const PageSpan whole{piece.first_page, piece.first_page + piece.pages};
    for (const PageSpan& part : intersection({&whole, 1}, pages)) {
      found.push_back({part.first, piece.page_in_block + (part.first - whole.first), part.end - part.first});
    }
  }
  return found;
}

using Visit = std::function<void(const PageSource&, const image::PageBlock&, std::span<const BlockPiece>)>;

/// The blocks with those of the `wanted` pages of an object.
void visit_blocks(const CheckpointImage& image, const image::MemoryObject& object,
                  const std::vector<PageSpan>& wanted, const Visit& visit) {
  for_each_block(object, [&](const image::PageBlock& block, std::span<const BlockPiece> pieces) {
    if (const std::vector<BlockPiece> parts = pieces_within(pieces, wanted); !parts.empty()) {
      visit(image.pages(), block, parts);
    }
  });
  const std::vector<PageSpan> above = intersection(wanted, pages_of_kind(decode_runs(object), in_parent));
  if (!above.empty()) {
    const image::MemoryObject& theirs = object_above(image, object);
    visit_blocks(*image.parent(), theirs, above, visit);
  }
}

void append(std::vector<PageRun>& runs, const PageRun& next) {
  if (!runs.empty() && runs.back().kind == next.kind && runs.back().first + runs.back().count == next.first) {
    runs.back().count += next.count;
  } else {
    runs.push_back(next);
  }
}

}  // namespace

std::vector<PageSpan> pages_of_kind(std::span<const PageRun> runs,
                                    const std::function<bool(image::PageKind)>& wanted) {
  std::vector<PageSpan> found;
  for (const PageRun& run : runs) {
    if (!wanted(run.kind)) {
      continue;
    }
    if (!found.empty() && found.back().end == run.first) {
      found.back().end += run.count;
    } else {
      found.push_back({run.first, run.first + run.count});
    }
  }
  return found;
}

std::vector<PageSpan> intersection(std::span<const PageSpan> a, std::span<const PageSpan> b) {
  std::vector<PageSpan> found;
  const auto* other = b.data();
  const auto* const end = b.data() + b.size();
  for (const PageSpan& one : a) {
    if (other != end && other->end <= one.first) {
      other = std::partition_point(other, end, [&](const PageSpan& span) { return span.end <= one.first; });
    }
    for (; other != end && other->first < one.end; ++other) {
      found.push_back({std::max(one.first, other->first), std::min(one.end, other->end)});
      if (other->end > one.end) {
        break;  // it may have something in common with the next one, too
      }
    }
  }
  return found;
}

bool has_content(image::PageKind kind) {
  return kind == image::PAGE_PRESENT || kind == image::PAGE_ZERO || kind == image::PAGE_IN_PARENT;
}

std::vector<PageRun> runs_with_parents(const CheckpointImage& image, const image::MemoryObject& object) {
  const std::vector<PageRun> own = decode_runs(object);
  if (pages_of_kind(own, in_parent).empty()) {
    return own;
  }
  const image::MemoryObject& above = object_above(image, object);
  const std::vector<PageRun> theirs = runs_with_parents(*image.parent(), above);
  std::vector<PageRun> runs;
  auto from = theirs.begin();
  for (const PageRun& run : own) {
    if (!in_parent(run.kind)) {
      append(runs, run);
      continue;
    }
    const uint64_t end = run.first + run.count;
    from = std::partition_point(from, theirs.end(),
                                [&](const PageRun& their) { return their.first + their.count <= run.first; });
    for (auto their = from; their != theirs.end() && their->first < end; ++their) {
      const uint64_t first = std::max(run.first, their->first);
      append(runs, {first, std::min(end, their->first + their->count) - first, their->kind, 0});
    }
  }
  return runs;
}

void for_each_block_with_parents(const CheckpointImage& image, const image::MemoryObject& object,
                                 const Visit& visit) {
  for_each_block(object, [&](const image::PageBlock& block, std::span<const BlockPiece> pieces) {
    visit(image.pages(), block, pieces);
  });
  const std::vector<PageSpan> above = pages_of_kind(decode_runs(object), in_parent);
  if (!above.empty()) {
    const image::MemoryObject& theirs = object_above(image, object);
    visit_blocks(*image.parent(), theirs, above, visit);
  }
}

void validate_parent(const std::vector<Record>& records, const CheckpointImage& parent) {
  for_each_record<image::MemoryObject>(records, [&](const image::MemoryObject& object) {
    const std::vector<PageSpan> needed = pages_of_kind(decode_runs(object), in_parent);
    if (needed.empty()) {
      return;
    }
    const image::MemoryObject* above = find_object(parent, object.parent_object());
    require(above != nullptr, "memory object {}: its parent has no object {}", object.id(),
            object.parent_object());
    const std::vector<PageSpan> there = pages_of_kind(decode_runs(*above), has_content);
    const std::vector<PageSpan> found = intersection(needed, there);
    const bool all = std::ranges::equal(needed, found, [](const PageSpan& a, const PageSpan& b) {
      return a.first == b.first && a.end == b.end;
    });
    require(all, "memory object {}: its parent hasn't all of its pages", object.id());
  });
}

}  // namespace godwit
