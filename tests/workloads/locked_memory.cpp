// What mlockall(2) promises for mappings yet to come: that they are locked, and that they are in memory at
// once, or with MCL_ONFAULT page by page as they are touched.
#include <sys/mman.h>

#include <string>

#include "tests/workloads/descriptor.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 16;

unsigned char* map() {
  // Beside nothing that it could merge with.
  void* place = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(place != MAP_FAILED, "mmap");
  return static_cast<unsigned char*>(place);
}

size_t resident(unsigned char* place) {
  unsigned char pages[kPages] = {};
  check(mincore(place, sizeof pages * kPage, pages) == 0, "mincore");
  size_t count = 0;
  for (const unsigned char page : pages) {
    count += page & 1U;
  }
  return count;
}

/// "VmLck" counts locked mappings in kB.
long locked_kilobytes() {
  static char text[8192];  // not in the heap, which would be locked too
  const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  const ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  text[got > 0 ? got : 0] = '\0';
  const char* at = strstr(text, "VmLck:");
  return at == nullptr ? -1 : strtol(at + 6, nullptr, 10);
}

enum class Locks { None, AtOnce, OnFault };

void check_new_mapping(Locks locks, const char* what) {
  const long before = locked_kilobytes();
  unsigned char* place = map();
  check_equal(locked_kilobytes() - before,
              locks != Locks::None ? static_cast<long>(kPages * kPage / 1024) : 0, what);
  check_equal(static_cast<long long>(resident(place)), locks == Locks::AtOnce ? kPages : 0, what);
  place[5 * kPage] = 1;
  munmap(place, kPages * kPage);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const auto child = static_cast<pid_t>(must(fork(), "fork"));
  if (child == 0) {
    mark("child");
    wait_to_go_on();
    check_new_mapping(Locks::None, "a mapping of a child, which inherits no lock");
    finish_child();
  }
  const auto sparing = static_cast<pid_t>(must(fork(), "fork"));
  if (sparing == 0) {
    must(mlockall(MCL_FUTURE | MCL_ONFAULT), "mlockall");
    mark("sparing child");
    wait_to_go_on();
    check_new_mapping(Locks::OnFault, "a new mapping is locked as it is touched");
    finish_child();
  }
  wait_for_mark("child");
  wait_for_mark("sparing child");
  must(mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall");
  unsigned char* before = map();
  before[3 * kPage] = 33;

  say_ready();
  wait_to_go_on();
  check_equal(static_cast<long long>(resident(before)), kPages, "a locked mapping is in memory");
  check_equal(before[3 * kPage], 33, "its content");
  check_new_mapping(Locks::AtOnce, "a new mapping is locked");
  check(munlockall() == 0, "munlockall");
  check_new_mapping(Locks::None, "a new mapping after munlockall");
  expect_end(child);
  expect_end(sparing);
  finish();
}
