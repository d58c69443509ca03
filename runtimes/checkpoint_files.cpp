#include "runtimes/checkpoint_files.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <span>

#include "images-format/page_store.h"
#include "images-format/partial_directory.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::runtimes {

namespace {

constexpr size_t kCopiedAtOnce = size_t{64} << 20;  // bytes

/// What runc writes into a checkpoint, and what Podman looks for. runc would write into the very file that
/// is there already, so that a link to it would change, too.
constexpr std::array kOfTheRuntime{"descriptors.json", "inventory.img"};

std::string path_of(const Directory& directory, const std::string& name) {
  return directory.path + "/" + name;
}

/// Nothing: there is no such file.
Fd open_source(const Directory& from, const std::string& name) {
  Fd file(::openat(from.fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) {
    return file;
  }
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw errno_error("cannot open {}", path_of(from, name));
  }
  if (!S_ISREG(status.st_mode)) {
    throw error("{} isn't a regular file", path_of(from, name));
  }
  return file;
}

void sync_file(int file, const std::string& path) {
  if (::fsync(file) != 0) {
    throw errno_error("cannot sync {}", path);
  }
}

Fd create(const Directory& to, const std::string& name) {
  return open_at(to.fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

void copy(int source, const Directory& to, const std::string& name, bool sync) {
  const std::string path = path_of(to, name);
  const Fd file = create(to, name);
  for (;;) {
    const ssize_t copied = ::sendfile(file.get(), source, nullptr, kCopiedAtOnce);
    if (copied < 0 && errno != EINTR) {
      throw errno_error("cannot write {}", path);
    }
    if (copied == 0) {
      break;
    }
  }
  if (sync) {
    sync_file(file.get(), path);
  }
}

/// Whether the very file that is open bears that name now.
bool is_linked(int file, const Directory& to, const std::string& name) {
  struct stat opened {};
  struct stat linked {};
  return ::fstat(file, &opened) == 0 && ::fstatat(to.fd, name.c_str(), &linked, AT_SYMLINK_NOFOLLOW) == 0 &&
         opened.st_dev == linked.st_dev && opened.st_ino == linked.st_ino;
}

/// Returns whether there is such a file.
bool link_or_copy(const Directory& from, const std::string& name, const Directory& to, bool sync) {
  const Fd source = open_source(from, name);
  if (!source) {
    return false;
  }
  // Other file systems, and such as have no links.
  if (::linkat(from.fd, name.c_str(), to.fd, name.c_str(), 0) != 0) {
    copy(source.get(), to, name, sync);
    return true;
  }
  if (!is_linked(source.get(), to, name)) {
    throw error("{} changes while it is read", path_of(from, name));
  }
  if (sync) {
    sync_file(source.get(), path_of(to, name));
  }
  return true;
}

}  // namespace

void copy_checkpoint(const Directory& from, const Directory& to, bool sync) {
  for (size_t i = 0; i < kMaxPayloadFiles; ++i) {
    if (!link_or_copy(from, payload_file(i), to, sync)) {
      break;
    }
  }
  for (const char* name : kOfTheRuntime) {
    copy_if_there(from, name, to, sync);
  }
  if (!link_or_copy(from, kMetadataFile, to, sync)) {
    throw error("there is no {}", path_of(from, kMetadataFile));
  }
}

bool copy_if_there(const Directory& from, const std::string& name, const Directory& to, bool sync) {
  const Fd source = open_source(from, name);
  if (source) {
    copy(source.get(), to, name, sync);
  }
  return static_cast<bool>(source);
}

void write_new_file(const Directory& to, const std::string& name, const std::string& content, bool sync) {
  const Fd file = create(to, name);
  write_all(file.get(), std::as_bytes(std::span(content)), path_of(to, name));
  if (sync) {
    sync_file(file.get(), path_of(to, name));
  }
}

}  // namespace godwit::runtimes
