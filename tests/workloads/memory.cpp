// Anonymous memory: at exact addresses, of all protections, with all advice, sparse, locked, growing; and
// that memory can be changed after restore as before: brk, mmap, munmap, mprotect, mremap, fork, vdso.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <vector>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr uintptr_t kMegabyte = 1 << 20;

struct Area {
  const char* name;
  unsigned char* start;
  size_t size;
  int protection;  // at the end
  unsigned seed;   // 0: all zeros
};

std::vector<Area> areas;

unsigned char content(size_t offset, unsigned seed) {
  return seed == 0 ? 0 : static_cast<unsigned char>(offset / kPage * 31 + offset * 7 + seed);
}

void fill(unsigned char* start, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; ++i) {
    start[i] = content(i, seed);
  }
}

unsigned char* map(uintptr_t address, size_t size, int flags = 0) {
  void* place = mmap(reinterpret_cast<void*>(address), size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | (address != 0 ? MAP_FIXED_NOREPLACE : 0) | flags, -1, 0);
  if (place == MAP_FAILED || (address != 0 && place != reinterpret_cast<void*>(address))) {
    workload::must(-1, "mmap");
  }
  return static_cast<unsigned char*>(place);
}

Area& add(const char* name, unsigned char* start, size_t size, int protection, unsigned seed) {
  if (seed != 0) {
    fill(start, size, seed);
  }
  workload::must(mprotect(start, size, protection), "mprotect");
  return areas.emplace_back(Area{name, start, size, protection, seed});
}

void advise(const Area& area, int advice) {
  // Some advice needs a kernel that was built for it (MADV_MERGEABLE).
  if (madvise(area.start, area.size, advice) != 0 && errno != EINVAL) {
    workload::must(-1, "madvise");
  }
}

void check_content(const Area& area) {
  if ((area.protection & PROT_READ) == 0) {
    workload::check_equal(mprotect(area.start, area.size, PROT_READ), 0, "mprotect of an unreadable area");
  }
  for (size_t i = 0; i < area.size; ++i) {
    if (area.start[i] != content(i, area.seed)) {
      workload::fail("%s: byte %zu is %u", area.name, i, area.start[i]);
      return;
    }
  }
}

using Function = int (*)();

void make_areas() {
  add("low address", map(0x10000 * 16, 4 * kPage), 4 * kPage, PROT_READ | PROT_WRITE, 1);
  add("high address", map(0x7000'0000'0000, 16 * kPage), 16 * kPage, PROT_READ | PROT_WRITE, 2);
  add("unreadable with content", map(0, 8 * kPage), 8 * kPage, PROT_NONE, 3);
  add("read-only with content", map(0, 8 * kPage), 8 * kPage, PROT_READ, 4);
  add("write-only", map(0, 2 * kPage), 2 * kPage, PROT_WRITE, 5);
  add("read, write, execute", map(0, 2 * kPage), 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC, 6);
  add("touched zeros", map(0, 64 * kPage), 64 * kPage, PROT_READ | PROT_WRITE, 0);
  memset(areas.back().start, 0, areas.back().size);
  add("never touched", map(0, 64 * kPage), 64 * kPage, PROT_READ | PROT_WRITE, 0);
  add("large", map(0, 32 * kMegabyte), 32 * kMegabyte, PROT_READ | PROT_WRITE, 7);
  // A mapping of three protections was one once: pieces side by side.
  unsigned char* pieces = map(0, 12 * kPage);
  add("piece 1", pieces, 4 * kPage, PROT_READ | PROT_WRITE, 8);
  add("piece 2", pieces + 4 * kPage, 4 * kPage, PROT_READ, 9);
  add("piece 3", pieces + 8 * kPage, 4 * kPage, PROT_READ | PROT_WRITE, 10);
  for (const int advice :
       {MADV_DONTFORK, MADV_DONTDUMP, MADV_WIPEONFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE}) {
    advise(add("advised", map(0, 2 * kMegabyte + 4 * kPage), 2 * kMegabyte + 4 * kPage,
               PROT_READ | PROT_WRITE, static_cast<unsigned>(20 + advice)),
           advice);
  }
  for (const int advice : {MADV_RANDOM, MADV_SEQUENTIAL}) {
    advise(add("advised", map(0, 3 * kPage), 3 * kPage, PROT_READ | PROT_WRITE,
               static_cast<unsigned>(50 + advice)),
           advice);
  }
  workload::must(
      mlock(add("locked", map(0, 4 * kPage), 4 * kPage, PROT_READ | PROT_WRITE, 11).start, 4 * kPage),
      "mlock");
  workload::must(
      syscall(SYS_mlock2,
              add("locked on fault", map(0, 4 * kPage), 4 * kPage, PROT_READ | PROT_WRITE, 0).start,
              4 * kPage, MLOCK_ONFAULT),
      "mlock2");
  add("not reserved", map(0, 8 * kPage, MAP_NORESERVE), 8 * kPage, PROT_READ | PROT_WRITE, 12);
  add("named", map(0, 4 * kPage), 4 * kPage, PROT_READ | PROT_WRITE, 13);
  // Without CONFIG_ANON_VMA_NAME there are no names.
  prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, areas.back().start, areas.back().size, "a name of its own");
}

constexpr size_t kSparse = 64UL << 30;
unsigned char* sparse = nullptr;
unsigned char* reserved = nullptr;
constexpr size_t kReserved = 1UL << 40;
constexpr size_t kTouched[] = {0, 4096, 1UL << 30, (5UL << 30) + 8192, kSparse - 4096};

/// Large and nearly empty: what garbage collectors do.
void make_sparse() {
  sparse = map(0, kSparse, MAP_NORESERVE);
  for (const size_t at : kTouched) {
    fill(sparse + at, kPage, static_cast<unsigned>(at / kPage % 200 + 1));
  }
  void* place = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  reserved = static_cast<unsigned char*>(place);
  workload::must(mprotect(reserved + kReserved / 2, kPage, PROT_READ | PROT_WRITE), "mprotect");
  fill(reserved + kReserved / 2, kPage, 99);
}

void check_sparse() {
  for (const size_t at : kTouched) {
    check_content({"sparse", sparse + at, kPage, PROT_READ, static_cast<unsigned>(at / kPage % 200 + 1)});
  }
  workload::check_equal(sparse[(2UL << 30) + 5], 0, "a byte never touched");
  check_content({"inside a reservation", reserved + kReserved / 2, kPage, PROT_READ, 99});
}

Function code = nullptr;

void make_code() {
  // mov $0x4d2, %eax; ret
  const unsigned char instructions[] = {0xb8, 0xd2, 0x04, 0x00, 0x00, 0xc3};
  unsigned char* place = map(0, kPage);
  memcpy(place, instructions, sizeof instructions);
  workload::must(mprotect(place, kPage, PROT_READ | PROT_EXEC), "mprotect");
  memcpy(&code, &place, sizeof code);
}

unsigned char* grows_down = nullptr;

void make_grows_down() {
  // Room below it, so that it can grow.
  unsigned char* room = map(0, 64 * kMegabyte);
  munmap(room, 64 * kMegabyte);
  grows_down = map(reinterpret_cast<uintptr_t>(room) + 62 * kMegabyte, 4 * kPage, MAP_GROWSDOWN);
  fill(grows_down, 4 * kPage, 14);
}

void check_grows_down() {
  check_content({"grows down", grows_down, 4 * kPage, PROT_READ, 14});
  // By touching below it, page by page.
  for (size_t page = 1; page <= 100; ++page) {
    *(grows_down - page * kPage) = static_cast<unsigned char>(page);
  }
  workload::check_equal(*(grows_down - 100 * kPage), 100, "a byte where the mapping grew");
}

/// Deeper than the stack has been.
[[gnu::noinline]] unsigned use_stack(unsigned depth) {
  volatile unsigned char frame[kPage];
  frame[0] = static_cast<unsigned char>(depth);
  return depth == 0 ? 0 : use_stack(depth - 1) + frame[0];
}

void check_that_memory_can_change() {
  workload::check_equal(use_stack(255), 255 * 256 / 2, "the main stack grows");

  void* end = sbrk(0);
  workload::check(sbrk(64 * kPage) == end, "brk grows");
  memset(end, 1, 64 * kPage);
  workload::check(sbrk(-64 * static_cast<intptr_t>(kPage)) != reinterpret_cast<void*>(-1), "brk shrinks");
  unsigned char* place = map(0, 10 * kPage);
  fill(place, 10 * kPage, 15);
  workload::check_equal(munmap(place + 4 * kPage, kPage), 0, "munmap in the middle");
  void* moved = mremap(place, 4 * kPage, 40 * kPage, MREMAP_MAYMOVE);
  workload::check(moved != MAP_FAILED, "mremap");
  check_content({"mremapped", static_cast<unsigned char*>(moved), 4 * kPage, PROT_READ, 15});
  const pid_t child = fork();
  if (child == 0) {
    for (const Area& area : areas) {
      // The children of these areas get nothing, or zeros.
      if (strcmp(area.name, "advised") != 0) {
        check_content(area);
      }
    }
    workload::finish_child();
  }
  workload::expect_end(child);
  const uint64_t before = workload::now_ns(CLOCK_REALTIME);
  workload::check(before > 1'600'000'000'000'000'000U && workload::now_ns(CLOCK_REALTIME) >= before,
                  "the time as the vdso tells it");
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  make_areas();
  make_sparse();
  make_code();
  make_grows_down();
  std::vector<int*> heap;
  for (int i = 0; i < 10000; ++i) {
    heap.push_back(new int(i * 3));
  }
  const uint64_t moment = workload::now_ns();
  workload::say_ready();
  workload::wait_to_go_on();
  workload::check(workload::now_ns() >= moment, "monotonic time went back");
  for (const Area& area : areas) {
    check_content(area);
  }
  check_sparse();
  workload::check_equal(code(), 1234, "result of code in anonymous memory");
  check_grows_down();
  for (int i = 0; i < 10000; ++i) {
    if (*heap[static_cast<size_t>(i)] != i * 3) {
      workload::fail("heap object %d", i);
      break;
    }
    delete heap[static_cast<size_t>(i)];
  }
  check_that_memory_can_change();
  workload::finish();
}
