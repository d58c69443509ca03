#include "kernel/kcmp.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/error.h"

namespace godwit {

namespace {

std::strong_ordering compare(pid_t a, pid_t b, int type, unsigned long index_a, unsigned long index_b) {
  switch (::syscall(SYS_kcmp, a, b, type, index_a, index_b)) {
    case 0:
      return std::strong_ordering::equal;
    case 1:
      return std::strong_ordering::less;
    case 2:
      return std::strong_ordering::greater;
    default:
      throw errno_error("cannot compare tasks {} and {}", a, b);
  }
}

}  // namespace

std::strong_ordering compare_open_files(pid_t a, int fd_a, pid_t b, int fd_b) {
  return compare(a, b, KCMP_FILE, static_cast<unsigned long>(fd_a), static_cast<unsigned long>(fd_b));
}

std::strong_ordering compare(Shared what, pid_t a, pid_t b) {
  constexpr int kTypes[] = {KCMP_VM, KCMP_FS, KCMP_FILES};
  return compare(a, b, kTypes[static_cast<size_t>(what)], 0, 0);
}

bool is_watched_by(pid_t pid, int fd, pid_t epoll_pid, int epoll, int watched, unsigned nth) {
  kcmp_epoll_slot slot{};
  slot.efd = static_cast<__u32>(epoll);
  slot.tfd = static_cast<__u32>(watched);
  slot.toff = nth;
  return compare(pid, epoll_pid, KCMP_EPOLL_TFD, static_cast<unsigned long>(fd),
                 reinterpret_cast<unsigned long>(&slot)) == std::strong_ordering::equal;
}

}  // namespace godwit
