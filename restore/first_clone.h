#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace godwit {

/// This thread has no rseq(2) area any more, the one that glibc has registered. Throws Error.
void unregister_rseq();

/// While one of these lives, what is cloned from this thread doesn't get this process's own writable memory:
/// a node needs nothing but its region, and would only throw the rest away. Copied page by page at each
/// write, it costs this process a page fault a page (madvise(2), MADV_DONTFORK). Nor does it get the rseq(2)
/// area that glibc has registered for the thread, which lies in that memory.
class FirstClone {
 public:
  /// Throws Error.
  FirstClone();
  ~FirstClone();
  FirstClone(const FirstClone&) = delete;
  FirstClone& operator=(const FirstClone&) = delete;

 private:
  std::vector<std::pair<uint64_t, uint64_t>> kept_;  // start, length
};

}  // namespace godwit
