#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernel/fd.h"

/// Which pages of a process hold data of its own. See Documentation/admin-guide/mm/pagemap.rst.
namespace godwit {

/// [start, end), page-aligned addresses.
struct PageRange {
  uint64_t start = 0;
  uint64_t end = 0;
  bool guard = false;  // MADV_GUARD_INSTALL: nothing to read, a fault on touch
};

/// One word of /proc/PID/pagemap.
class PagemapEntry {
 public:
  explicit PagemapEntry(uint64_t word = 0) : word_(word) {}
  [[nodiscard]] bool present() const { return bit(63); }
  [[nodiscard]] bool swapped() const { return bit(62); }
  /// Page cache or shared memory: not anonymous.
  [[nodiscard]] bool of_file() const { return bit(61); }
  [[nodiscard]] bool guard() const { return bit(58); }
  /// Mapped nowhere else.
  [[nodiscard]] bool exclusive() const { return bit(56); }
  /// Both name the very same page, in memory or in swap. Unknown (false) without CAP_SYS_ADMIN, for which
  /// the kernel hides frame numbers.
  [[nodiscard]] bool same_page(PagemapEntry other) const {
    return (present() || swapped()) && (word_ & kIdentity) == (other.word_ & kIdentity) &&
           (word_ & kFrame) != 0;
  }

 private:
  static constexpr uint64_t kFrame = (uint64_t{1} << 55) - 1;
  static constexpr uint64_t kIdentity = kFrame | uint64_t{3} << 62;
  [[nodiscard]] bool bit(int number) const { return (word_ >> number & 1) != 0; }
  uint64_t word_;
};

/// /proc/PID/pagemap of one process. Needs the rights of PTRACE_MODE_READ. The object may be used by any
/// thread, but the process must not exec.
class Pagemap {
 public:
  /// Throws Error if the process has gone.
  explicit Pagemap(pid_t pid);

  /// Ranges whose pages are anonymous and have been touched: present or swapped, not the zero page, not a
  /// file's. Ascending, adjoining ones merged. All of those in `areas` (ascending, without overlaps), and
  /// perhaps some between them. By PAGEMAP_SCAN where there is one; without it the zero page can't be told
  /// and is reported too. Throws Error.
  [[nodiscard]] std::vector<PageRange> anonymous(std::span<const PageRange> areas) const;

  /// Pages of private memory of the task's own (present or swapped) that were last written before `protect`,
  /// in mappings that are registered for asynchronous write protection since before that. What isn't
  /// reported counts as written: without PAGEMAP_SCAN that is all. Throws Error.
  [[nodiscard]] std::vector<PageRange> unwritten(std::span<const PageRange> areas) const;

  /// Write-protects the anonymous pages that are there, where mappings are registered for asynchronous write
  /// protection; others are passed over. Where it fails some may be protected and others not. Throws Error.
  void protect(std::span<const PageRange> areas) const;

  /// One entry a page from `start` on. Throws Error.
  void read(uint64_t start, std::span<PagemapEntry> entries) const;

 private:
  [[nodiscard]] std::vector<PageRange> scan(uint64_t start, uint64_t end) const;
  [[nodiscard]] std::vector<PageRange> scan_written(uint64_t start, uint64_t end, uint64_t flags,
                                                    uint64_t inverted, uint64_t mask) const;
  void look_through(const PageRange& area, std::vector<PageRange>& found) const;
  pid_t pid_;
  Fd fd_;
};

}  // namespace godwit
