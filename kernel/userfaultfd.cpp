#include "kernel/userfaultfd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "kernel/error.h"
#include "kernel/features.h"

namespace godwit::userfaultfd {

namespace {

constexpr uint64_t kWriteProtectAsync = uint64_t{1} << 15;  // newer than our headers

}  // namespace

int flags() {
  return O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
}

bool can_track_writes() {
  return has(Feature::UserfaultfdWpAsync) && has(Feature::PagemapScan);
}

void enable_write_tracking(const Fd& userfaultfd) {
  uffdio_api api{.api = UFFD_API, .features = kWriteProtectAsync, .ioctls = 0};
  if (::ioctl(userfaultfd.get(), UFFDIO_API, &api) != 0) {
    throw errno_error("cannot ask a userfaultfd for asynchronous write protection");
  }
}

int register_range(const Fd& userfaultfd, uint64_t start, uint64_t end) {
  uffdio_register range{
      .range = {.start = start, .len = end - start}, .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  return ::ioctl(userfaultfd.get(), UFFDIO_REGISTER, &range) == 0 ? 0 : errno;
}

void unprotect(const Fd& userfaultfd, uint64_t start, uint64_t end) {
  uffdio_writeprotect range{.range = {.start = start, .len = end - start}, .mode = 0};
  while (::ioctl(userfaultfd.get(), UFFDIO_WRITEPROTECT, &range) != 0) {
    if (errno != EINTR && errno != EAGAIN) {
      throw errno_error("cannot take write protection from {:x}-{:x}", start, end);
    }
  }
}

}  // namespace godwit::userfaultfd
