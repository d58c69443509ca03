#include <sys/syscall.h>
#include <unistd.h>

#include "dump/collectors.h"
#include "kernel/error.h"

namespace godwit {

void collect_robust_list(pid_t tid, image::Thread& record) {
  uint64_t head = 0;
  size_t length = 0;
  if (::syscall(SYS_get_robust_list, tid, &head, &length) != 0) {
    throw errno_error("cannot read the robust futex list");
  }
  if (head != 0) {
    record.mutable_robust_list()->set_head(head);
    record.mutable_robust_list()->set_length(length);
  }
}

}  // namespace godwit
