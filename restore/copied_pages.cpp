#include "restore/copied_pages.h"

#include <algorithm>

namespace godwit {

namespace {

std::vector<PageNumbers> inherited(const std::vector<PageRun>& runs) {
  std::vector<PageNumbers> found;
  for (const PageRun& run : runs) {
    if (run.kind == image::PAGE_INHERITED) {
      found.push_back({run.first, run.first + run.count});
    }
  }
  return found;
}

}  // namespace

PagesToCopy pages_to_copy(const Plan& plan, int node, const RunsByObject& runs) {
  const auto of = [&](int i) -> const PlannedNode& { return plan.nodes[static_cast<size_t>(i)]; };
  PagesToCopy result;
  std::vector<PageNumbers> wanted = inherited(runs.at(of(node).mm->memory_object()));
  for (int at = of(node).parent; at >= 0 && of(at).mm != nullptr && !wanted.empty(); at = of(at).parent) {
    const uint64_t object = of(at).mm->memory_object();
    const std::vector<PageRun>& theirs = runs.at(object);
    std::vector<PageNumbers> from_above;
    for (const PageNumbers& range : wanted) {
      auto run = std::partition_point(theirs.begin(), theirs.end(), [&](const PageRun& one) {
        return one.first + one.count <= range.first;
      });
      for (; run != theirs.end() && run->first < range.end; ++run) {
        const PageNumbers part{std::max(run->first, range.first),
                               std::min(run->first + run->count, range.end)};
        if (run->kind == image::PAGE_PRESENT) {
          result.by_object[object].push_back(part);
        } else if (run->kind == image::PAGE_INHERITED) {
          from_above.push_back(part);
        } else {
          result.zeros.push_back(part);
        }
      }
    }
    wanted = std::move(from_above);
  }
  return result;
}

}  // namespace godwit
