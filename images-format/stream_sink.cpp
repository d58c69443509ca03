#include "images-format/stream_sink.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

// A signal that asks for an end may come right before a call that waits.
constexpr int kPatienceMs = 100;
constexpr int kPipeBytes = 1 << 20;

bool is_unix_socket(int fd) {
  int domain = 0;
  socklen_t size = sizeof(domain);
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

mode_t kind_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    throw errno_error("cannot stat descriptor {}", fd);
  }
  return status.st_mode & S_IFMT;
}

}  // namespace

Delivery delivery_of(int fd) {
  switch (kind_of(fd)) {
    case S_IFREG:
      return Delivery::Kept;
    case S_IFIFO:
      return Delivery::Taken;
    case S_IFSOCK:
      return is_unix_socket(fd) ? Delivery::Taken : Delivery::Sent;
    default:
      return Delivery::Unknown;
  }
}

StreamSink::StreamSink(int fd, std::string name)
    : given_(fd), kind_(kind_of(fd)), name_(std::move(name)), delivery_(delivery_of(fd)) {
  if (kind_ == S_IFIFO) {
    // If that can't be had, a reader that doesn't read keeps us until it goes.
    own_ = Fd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    ::fcntl(fd, F_SETPIPE_SZ, kPipeBytes);  // for speed; its limit may be lower
  }
}

ssize_t StreamSink::write_some(std::span<const std::byte> data) const {
  if (kind_ == S_IFSOCK) {
    return ::send(given_, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  return ::write(fd(), data.data(), data.size());
}

void StreamSink::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    check_cancelled();
    const ssize_t put = write_some(data);
    if (put >= 0) {
      data = data.subspan(static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd room{.fd = fd(), .events = POLLOUT, .revents = 0};
      ::poll(&room, 1, kPatienceMs);
    } else if (errno != EINTR) {
      throw errno_error("cannot write {}", name_);
    }
  }
}

void StreamSink::write_last(std::span<const std::byte> data) noexcept {
  for (int tries = 0; !data.empty() && tries < 100; ++tries) {
    const ssize_t put = write_some(data);
    if (put >= 0) {
      data = data.subspan(static_cast<size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd room{.fd = fd(), .events = POLLOUT, .revents = 0};
      ::poll(&room, 1, kPatienceMs);
    } else if (errno != EINTR) {
      return;  // such as a reader that wants no more than the checkpoint
    }
  }
}

/// What the reader hasn't read yet.
int StreamSink::bytes_under_way() const {
  int bytes = 0;
  if (::ioctl(fd(), kind_ == S_IFSOCK ? SIOCOUTQ : FIONREAD, &bytes) != 0) {
    throw errno_error("cannot ask whether {} has been read", name_);
  }
  return bytes;
}

/// A socket that was closed with something unread forgets that, but leaves an error.
void StreamSink::check_peer() const {
  int code = 0;
  socklen_t size = sizeof(code);
  if (kind_ == S_IFSOCK && ::getsockopt(given_, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0) {
    throw Error(fmt::format("{} wasn't read to its end", name_), code);
  }
}

/// No event tells that a pipe is empty, so it is asked again and again.
void StreamSink::wait_until_taken() const {
  int patience_ms = 1;
  while (bytes_under_way() != 0) {
    check_cancelled();
    pollfd gone{.fd = fd(), .events = 0, .revents = 0};
    if (::poll(&gone, 1, patience_ms) > 0 && bytes_under_way() != 0) {
      check_peer();
      throw Error(fmt::format("{} wasn't read to its end", name_), EPIPE);
    }
    patience_ms = std::min(patience_ms * 2, kPatienceMs);
  }
  check_peer();
}

void StreamSink::settle(bool sync) {
  if (delivery_ == Delivery::Taken || delivery_ == Delivery::Sent) {
    wait_until_taken();
  } else if (delivery_ == Delivery::Kept && sync && ::fsync(given_) != 0) {
    throw errno_error("cannot sync {}", name_);
  }
}

}  // namespace godwit
