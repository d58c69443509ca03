#include "kernel/pagemap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "kernel/error.h"
#include "kernel/features.h"

namespace godwit {

namespace {

constexpr uint64_t kPage = 4096;

// include/uapi/linux/fs.h, Linux 6.7.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct ScanArguments {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
static_assert(sizeof(ScanArguments) == 96);
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kProtectMatching = 1 << 0;  // PM_SCAN_WP_MATCHING
constexpr uint64_t kProtectable = 1 << 0;      // PAGE_IS_WPALLOWED
constexpr uint64_t kWritten = 1 << 1;
constexpr uint64_t kFile = 1 << 2;
constexpr uint64_t kPresent = 1 << 3;
constexpr uint64_t kSwapped = 1 << 4;
constexpr uint64_t kPfnZero = 1 << 5;
constexpr uint64_t kGuard = 1 << 8;  // Linux 6.15

/// Cleared when the kernel turns out not to know guard pages as a category.
std::atomic<uint64_t> guard_category = kGuard;
/// Cleared when the kernel turns out not to have PAGEMAP_SCAN.
std::atomic<bool> can_scan = true;

void append(std::vector<PageRange>& ranges, const PageRange& next) {
  if (!ranges.empty() && ranges.back().end == next.start && ranges.back().guard == next.guard) {
    ranges.back().end = next.end;
  } else {
    ranges.push_back(next);
  }
}

/// The ioctl, with what this kernel knows. False: it has no such ioctl.
bool scan_once(int fd, ScanArguments& arguments, long& regions) {
  for (;;) {
    arguments.return_mask = guard_category;
    regions = ::ioctl(fd, kPagemapScan, &arguments);
    if (regions >= 0) {
      return true;
    }
    if (errno == EINVAL && arguments.return_mask != 0) {
      guard_category = 0;
    } else if (errno != EINTR) {
      return false;
    }
  }
}

}  // namespace

Pagemap::Pagemap(pid_t pid) : pid_(pid), fd_(open_file(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)) {}

std::vector<PageRange> Pagemap::anonymous(std::span<const PageRange> areas) const {
  if (areas.empty()) {
    return {};
  }
  if (can_scan && !hidden(Feature::PagemapScan)) {
    std::vector<PageRange> found = scan(areas.front().start, areas.back().end);
    if (can_scan) {
      return found;
    }
  }
  std::vector<PageRange> found;
  for (const PageRange& area : areas) {
    look_through(area, found);
  }
  return found;
}

void Pagemap::look_through(const PageRange& area, std::vector<PageRange>& found) const {
  std::array<PagemapEntry, 4096> entries;
  for (uint64_t at = area.start; at < area.end;) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(entries.size(), (area.end - at) / kPage));
    read(at, std::span(entries).first(count));
    for (size_t i = 0; i < count; ++i, at += kPage) {
      const PagemapEntry entry = entries[i];
      if ((entry.present() || entry.swapped()) && !entry.of_file()) {
        append(found, {at, at + kPage, entry.guard()});
      }
    }
  }
}

std::vector<PageRange> Pagemap::scan(uint64_t start, uint64_t end) const {
  std::vector<PageRange> found;
  std::array<PageRegion, 512> regions;
  ScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.end = end;
  arguments.vec = reinterpret_cast<uint64_t>(regions.data());
  arguments.vec_len = regions.size();
  arguments.category_inverted = kFile | kPfnZero;
  arguments.category_mask = kFile | kPfnZero;
  arguments.category_anyof_mask = kPresent | kSwapped;
  for (arguments.start = start; arguments.start < end; arguments.start = arguments.walk_end) {
    long count = 0;
    if (!scan_once(fd_.get(), arguments, count)) {
      if (errno == ENOTTY || errno == EINVAL) {
        can_scan = false;
        return {};
      }
      throw errno_error("cannot scan the page map of process {}", pid_);
    }
    for (const PageRegion& region : std::span(regions).first(static_cast<size_t>(count))) {
      append(found, {region.start, region.end, (region.categories & kGuard) != 0});
    }
  }
  return found;
}

/// Regions of pages that are present or swapped and of the categories of `mask`, or not of those of
/// `inverted`. With room for what it finds: without, PM_SCAN_WP_MATCHING also marks pages that were never
/// touched.
std::vector<PageRange> Pagemap::scan_written(uint64_t start, uint64_t end, uint64_t flags, uint64_t inverted,
                                             uint64_t mask) const {
  std::vector<PageRange> found;
  std::array<PageRegion, 512> regions;
  ScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.flags = flags;
  arguments.end = end;
  arguments.vec = reinterpret_cast<uint64_t>(regions.data());
  arguments.vec_len = regions.size();
  arguments.category_inverted = inverted;
  arguments.category_mask = mask;
  arguments.category_anyof_mask = kPresent | kSwapped;
  for (arguments.start = start; arguments.start < end; arguments.start = arguments.walk_end) {
    const long count = ::ioctl(fd_.get(), kPagemapScan, &arguments);
    if (count < 0 && errno == EINTR) {
      arguments.walk_end = arguments.start;
      continue;
    }
    if (count < 0) {
      throw errno_error("cannot scan the page map of process {} for writes", pid_);
    }
    for (const PageRegion& region : std::span(regions).first(static_cast<size_t>(count))) {
      append(found, {region.start, region.end, false});
    }
  }
  return found;
}

std::vector<PageRange> Pagemap::unwritten(std::span<const PageRange> areas) const {
  if (areas.empty() || hidden(Feature::PagemapScan)) {
    return {};
  }
  return scan_written(areas.front().start, areas.back().end, 0, kWritten | kFile | kPfnZero,
                      kWritten | kProtectable | kFile | kPfnZero);
}

void Pagemap::protect(std::span<const PageRange> areas) const {
  if (!areas.empty()) {
    static_cast<void>(scan_written(areas.front().start, areas.back().end, kProtectMatching, kFile | kPfnZero,
                                   kWritten | kFile | kPfnZero));
  }
}

void Pagemap::read(uint64_t start, std::span<PagemapEntry> entries) const {
  static_assert(sizeof(PagemapEntry) == sizeof(uint64_t));
  const auto offset = static_cast<off_t>(start / kPage * sizeof(uint64_t));
  const ssize_t got = ::pread(fd_.get(), entries.data(), entries.size_bytes(), offset);
  if (got != static_cast<ssize_t>(entries.size_bytes())) {
    if (got >= 0) {
      errno = ESRCH;
    }
    throw errno_error("cannot read the page map of process {} at {:x}", pid_, start);
  }
}

}  // namespace godwit
