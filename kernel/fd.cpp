#include "kernel/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
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
  // Through the stack: a string that is grown first is filled with zeros, of which every page is touched.
  std::array<char, 16384> part;
  std::string text;
  for (;;) {
    const ssize_t got = ::read(fd, part.data(), part.size());
    if (got == 0) {
      return text;
    }
    if (got > 0) {
      text.append(part.data(), static_cast<size_t>(got));
    } else if (errno != EINTR) {
      throw errno_error("cannot read {}", name);
    }
  }
}

std::string read_record(int fd, const std::string& name) {
  std::array<char, 4096> part;
  ssize_t got = 0;
  do {
    got = ::read(fd, part.data(), part.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    throw errno_error("cannot read {}", name);
  }
  std::string text(part.data(), static_cast<size_t>(got));
  return text.size() < part.size() ? text : text + read_all(fd, name);
}

std::string read_record(const std::string& path) {
  return read_record(open_file(path, O_RDONLY).get(), path);
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
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0) {
    throw errno_error("cannot read link {}", path);
  }
  return {target.data(), static_cast<size_t>(length)};
}

}  // namespace godwit
