#include "kernel/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/error.h"

namespace godwit {

Fd open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) {
    throw errno_error("cannot open a pidfd of task {}", pid);
  }
  return fd;
}

Fd copy_descriptor(int pidfd, int number) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0)));
  if (!fd) {
    throw errno_error("cannot get a copy of descriptor {}", number);
  }
  return fd;
}

}  // namespace godwit
