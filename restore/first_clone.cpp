#include "restore/first_clone.h"

#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/error.h"
#include "kernel/procfs.h"

namespace godwit {

namespace {

// What glibc 2.35 and later register; glibc before has no area, and __rseq_size is 0.
constexpr uint32_t kGlibcRseqBytes = 32;
constexpr int kUnregister = 1;

/// False: the kernel says no.
bool change_rseq(int flags) {
  if (__rseq_size == 0) {
    return true;
  }
  auto* const area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  return ::syscall(SYS_rseq, area, kGlibcRseqBytes, flags, RSEQ_SIG) == 0;
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): as /proc/PID/maps gives it
}

}  // namespace

void unregister_rseq() {
  if (!change_rseq(kUnregister)) {
    throw errno_error("cannot unregister this thread's rseq area");
  }
}

FirstClone::FirstClone() {
  unregister_rseq();
  for (const auto& map : procfs::read_maps(::getpid())) {
    if (!map.shared && (map.prot & PROT_WRITE) != 0 &&
        ::madvise(pointer(map.start), map.end - map.start, MADV_DONTFORK) == 0) {
      kept_.emplace_back(map.start, map.end - map.start);
    }
  }
}

FirstClone::~FirstClone() {
  for (const auto& [start, length] : kept_) {
    ::madvise(pointer(start), length, MADV_DOFORK);
  }
  (void)change_rseq(0);  // this program can do without
}

}  // namespace godwit
