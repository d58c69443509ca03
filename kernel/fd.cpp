#include "kernel/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "kernel/error.h"

namespace godwit {

void Fd::reset() {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
  }
}

Fd open_file(const std::string& path, int flags, mode_t mode) {
  return open_at(AT_FDCWD, path, flags, mode);
}

Fd open_at(int directory, const std::string& path, int flags, mode_t mode) {
  Fd fd(::openat(directory, path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) {
    throw errno_error("cannot open {}", path);
  }
  return fd;
}

std::string read_file(const std::string& path) {
  return read_all(open_file(path, O_RDONLY).get(), path);
}

std::string read_all(int fd, const std::string& name) {
  std::string text;
  size_t used = 0;
  // Most files of /proc fit: one read for the content, one that finds the end.
  text.resize(4096);
  for (;;) {
    const ssize_t got = ::read(fd, text.data() + used, text.size() - used);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw errno_error("cannot read {}", name);
    }
    if (got == 0) {
      text.resize(used);
      return text;
    }
    used += static_cast<size_t>(got);
    if (used == text.size()) {
      text.resize(text.size() * 4);
    }
  }
}

void write_all(int fd, std::span<const std::byte> data, const std::string& name) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw errno_error("cannot write {}", name);
    }
    data = data.subspan(static_cast<size_t>(put));
  }
}

std::string read_link(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0) {
    throw errno_error("cannot read link {}", path);
  }
  target.resize(static_cast<size_t>(length));
  return target;
}

}  // namespace godwit
