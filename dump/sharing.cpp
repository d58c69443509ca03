#include "dump/sharing.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/error.h"

namespace godwit {

namespace {

int type_of(Shared what) {
  switch (what) {
    case Shared::AddressSpace:
      return KCMP_VM;
    case Shared::Filesystem:
      return KCMP_FS;
    case Shared::DescriptorTable:
      return KCMP_FILES;
  }
  return -1;
}

}  // namespace

std::strong_ordering compare(Shared what, pid_t a, pid_t b) {
  switch (::syscall(SYS_kcmp, a, b, type_of(what), 0, 0)) {
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

}  // namespace godwit
