#include "restore/inherited_range.h"

#include <algorithm>

namespace godwit {

namespace {

bool same_kind(const image::Mapping& a, const image::Mapping& b) {
  if (a.shared() || b.shared() || a.backing() != b.backing() || a.grows_down() != b.grows_down()) {
    return false;
  }
  if (a.backing() == image::Mapping::ANONYMOUS) {
    return true;
  }
  return a.backing() == image::Mapping::FILE && a.file_id() == b.file_id() &&
         a.start() - a.offset() == b.start() - b.offset();
}

}  // namespace

InheritedRange inherited_range(const image::Mapping& mapping, const image::Mm& parent) {
  InheritedRange best;
  // Adjoining mappings of the parent that differ only in protection count as one.
  InheritedRange run;
  const auto take = [&] {
    const InheritedRange overlap{std::max(run.start, mapping.start()), std::min(run.end, mapping.end())};
    if (!overlap.empty() && overlap.end - overlap.start > best.end - best.start) {
      best = overlap;
    }
  };
  for (const auto& theirs : parent.mappings()) {
    if (!same_kind(mapping, theirs)) {
      continue;
    }
    if (theirs.start() == run.end) {
      run.end = theirs.end();
    } else {
      take();
      run = {theirs.start(), theirs.end()};
    }
  }
  take();
  return best;
}

}  // namespace godwit
