#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>

/// kcmp(2): whether two tasks share a kernel object, and, if not, an order among them that stays the same
/// until the machine restarts, so that n objects are told apart by O(n log n) questions.
namespace godwit {

/// The open file descriptions behind descriptor `fd_a` of task `a` and `fd_b` of task `b`. Throws Error.
[[nodiscard]] std::strong_ordering compare_open_files(pid_t a, int fd_a, pid_t b, int fd_b);
/// What two tasks may have in common.
enum class Shared : uint8_t { AddressSpace, Filesystem, DescriptorTable };
/// Throws Error.
[[nodiscard]] std::strong_ordering compare(Shared what, pid_t a, pid_t b);
/// Whether the description behind `fd` of task `pid` is the one that epoll descriptor `epoll` of task
/// `epoll_pid` watches under number `watched`; `nth`: which of the watches under that number, in the
/// order of fdinfo.
[[nodiscard]] bool is_watched_by(pid_t pid, int fd, pid_t epoll_pid, int epoll, int watched, unsigned nth);

}  // namespace godwit
