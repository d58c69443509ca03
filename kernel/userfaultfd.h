#pragma once

#include <cstdint>

#include "kernel/fd.h"

/// Asynchronous write protection by userfaultfd(2) (UFFD_FEATURE_WP_ASYNC, Linux 6.7): the kernel itself
/// lifts the protection of a page that is written, and PAGEMAP_SCAN tells of which pages. See
/// Documentation/admin-guide/mm/pagemap.rst and userfaultfd.rst.
namespace godwit::userfaultfd {

/// For userfaultfd(2). UFFD_USER_MODE_ONLY, so that tasks of any user may make it; nobody waits for faults to
/// be answered here, so that it makes no difference.
[[nodiscard]] int flags();

/// This kernel can do it, and nothing of it is hidden.
[[nodiscard]] bool can_track_writes();

/// Once for each userfaultfd, by whoever holds it. Throws Error.
void enable_write_tracking(const Fd& userfaultfd);

/// Registers [start, end), which lies in one mapping of the process in which it was made; any process that
/// holds it may ask. Does nothing where it is registered already. Returns 0 or an errno: EBUSY where another
/// userfaultfd has it, EINVAL for mappings of the kernel, EPERM for files that may not be written, ENOMEM if
/// that process has ended or executed another program. See ioctl_userfaultfd(2), UFFDIO_REGISTER.
[[nodiscard]] int register_range(const Fd& userfaultfd, uint64_t start, uint64_t end);

/// Takes write protection from all pages of a registered range: before Linux 6.13 a page may bring it along
/// from where mremap(2) found it, and then nobody would notice that it is written. Throws Error.
void unprotect(const Fd& userfaultfd, uint64_t start, uint64_t end);

}  // namespace godwit::userfaultfd
