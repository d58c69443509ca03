#include "program/startup.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

// godwit starts with every dump and restore, so what happens before main counts. In the static executable
// two things cost more than everything else together, and neither is needed. CMakeLists.txt has the linker
// replace them by these (ld --wrap).
extern "C" {

// gcc's start files of static executables register all unwinding tables; then the first exception sorts
// them, which takes milliseconds. Unregistered, they are found through .eh_frame_hdr, which the linker has
// sorted, as in dynamic executables.
void __wrap___register_frame_info(const void*, void*) {}
void* __wrap___deregister_frame_info(const void*) {
  return nullptr;
}

// google::protobuf::internal::AddDescriptorsRunner's constructor parses the description of every .proto.
// protobuf does it by itself when one is first asked for (AssignDescriptors): only `inspect` asks.
void __wrap__ZN6google8protobuf8internal20AddDescriptorsRunnerC1EPKNS1_15DescriptorTableE(void*,
                                                                                          const void*) {}

#ifndef __SANITIZE_ADDRESS__  // which has a heap of its own
/// Before all constructors: the heap comes in one piece, whose pages are made at once (program/start.cpp says
/// why), and threads don't get heaps of their own.
static void prepare_heap() {
  constexpr size_t kUsedByMost = 256 << 10;
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_TOP_PAD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_MMAP_THRESHOLD, 16 << 20);
  void* all = std::malloc(kUsedByMost);
  const auto start = reinterpret_cast<uintptr_t>(all) & ~uintptr_t{4095};
  ::madvise(reinterpret_cast<void*>(start), kUsedByMost, MADV_POPULATE_WRITE);
  std::free(all);
}
[[gnu::section(".preinit_array"), gnu::used]] static void (*const kPrepareHeap)() = prepare_heap;
#endif
}

namespace godwit {

void fill_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0) {
      ::_exit(EXIT_FAILURE);
    }
  }
}

void leave(int exit_code) {
#ifdef __SANITIZE_ADDRESS__
  std::exit(exit_code);  // leaks are looked for there
#else
  ::_exit(exit_code);
#endif
}

}  // namespace godwit
