#include "restore/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/mount.h"
#include "restore/file_content.h"

namespace godwit {

namespace {

constexpr int64_t kNanoseconds = 1'000'000'000;
constexpr int kTmpfileBit = O_TMPFILE & ~O_DIRECTORY;

/// "2026-11-25 01:33:58.000000000 UTC"
std::string time_text(const timespec& time) {
  tm parts{};
  std::array<char, 64> text{};
  if (::gmtime_r(&time.tv_sec, &parts) == nullptr ||
      ::strftime(text.data(), text.size(), "%F %T", &parts) == 0) {
    return fmt::format("{}.{:09} s", time.tv_sec, time.tv_nsec);
  }
  return fmt::format("{}.{:09} UTC", text.data(), time.tv_nsec);
}

/// In words; empty: as at the dump.
std::string change_of(const image::File& file, const struct stat& status) {
  if (static_cast<uint64_t>(status.st_size) != file.size()) {
    return fmt::format("its size was {} bytes and is {}", file.size(), status.st_size);
  }
  if (status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec != file.mtime_ns()) {
    return fmt::format("its modification time was {} and is {}", time_text(to_timespec(file.mtime_ns())),
                       time_text(status.st_mtim));
  }
  return {};
}

/// The file must be what the image says, as far as the restored tasks could tell.
void check_file(const image::File& file) {
  struct stat status {};
  if (::lstat(file.path().c_str(), &status) != 0) {
    throw errno_error("cannot find {}", file.path()).hint("the checkpoint needs this file");
  }
  if ((status.st_mode & S_IFMT) != (file.mode() & S_IFMT)) {
    throw error("{} is another type of file than at the dump", file.path());
  }
  const bool device = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
  if (device && status.st_rdev != file.rdev()) {
    throw error("{} is another device than at the dump", file.path());
  }
  if (const std::string change = change_of(file, status); file.validate() && !change.empty()) {
    throw Error(fmt::format("{} has changed since the dump: {}", file.path(), change), 0,
                "memory of the tasks comes from it");
  }
}

/// A file without a name, in the directory where the ghost had its own.
Fd make_unnamed(const image::File& file) {
  const std::string& path = file.path();
  const std::string directory = path.substr(0, std::max<size_t>(path.rfind('/'), 1));
  Fd made(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (made) {
    return made;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR) {
    throw errno_error("cannot make an unnamed file in {}", directory)
        .hint("an unlinked file of the checkpoint was there");
  }
  const std::string name = fmt::format("{}/.godwit-{}-{}", directory, ::getpid(), file.id());
  made = open_file(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (::unlink(name.c_str()) != 0) {
    throw errno_error("cannot unlink {}", name);
  }
  return made;
}

void restore_attributes(int fd, const image::File& file) {
  const image::Ghost& ghost = file.ghost();
  const std::array<timespec, 2> times{to_timespec(ghost.atime_ns()), to_timespec(file.mtime_ns())};
  // Owner before mode: a change of owner takes set-user-ID bits away. Times last.
  if (::ftruncate(fd, static_cast<off_t>(file.size())) != 0 || ::fchown(fd, ghost.uid(), ghost.gid()) != 0 ||
      ::fchmod(fd, file.mode() & 07777) != 0 || ::futimens(fd, times.data()) != 0) {
    throw errno_error("cannot set the attributes of {}", file.path());
  }
}

}  // namespace

FileOpener::FileOpener(const CheckpointImage& image, int first_descriptor)
    : next_descriptor_(first_descriptor) {
  for (const image::File* file : image.all<image::File>()) {
    files_[file->id()] = file;
    if (!file->has_ghost()) {
      check_file(*file);
    }
  }
  try {
    for (const auto& [id, file] : files_) {
      if (file->has_ghost()) {
        make_ghost(image, *file);
      }
    }
  } catch (...) {
    close_ghosts();
    throw;
  }
}

FileOpener::~FileOpener() {
  close_ghosts();
}

void FileOpener::close_ghosts() {
  for (const auto& [id, fd] : ghosts_) {
    ::close(fd);
  }
}

void FileOpener::make_ghost(const CheckpointImage& image, const image::File& file) {
  with_context([&] { return fmt::format("unlinked file {}", file.path()); },
               [&] {
                 const Fd made = make_unnamed(file);
                 const int number = ::fcntl(made.get(), F_DUPFD, next_descriptor_);
                 if (number < 0) {
                   throw errno_error("cannot keep it at descriptor {}", next_descriptor_);
                 }
                 ghosts_[file.id()] = number;
                 next_descriptor_ = number + 1;
                 fill_file(number, file.path(), file.size(),
                           find_memory_object(image, file.ghost().memory_object()), image.pages());
                 restore_attributes(number, file);
               });
}

Slot open_again(ScriptBuilder& script, int number, int flags, int own_descriptors) {
  if (own_descriptors >= 0) {
    return script.call_to_slot("open it again", SYS_openat,
                               {own_descriptors, script.string(std::to_string(number)), flags});
  }
  const uint64_t path = script.string(fmt::format("/proc/self/fd/{}", number));
  return script.call_to_slot("open it again", SYS_openat, {AT_FDCWD, path, flags});
}

Slot FileOpener::open(ScriptBuilder& script, uint32_t file_id, int flags, int own_descriptors) const {
  const image::File& record = file(file_id);
  const auto ghost = ghosts_.find(file_id);
  flags |= O_CLOEXEC | O_NOCTTY;
  if ((flags & kTmpfileBit) != 0) {
    flags &= ~O_TMPFILE;  // was made without a name; opened again it is a file like any other
  }
  if (ghost == ghosts_.end()) {
    // It was a regular file a moment ago; what has come in its place may be a FIFO.
    flags |= S_ISREG(record.mode()) && (flags & O_PATH) == 0 ? O_NONBLOCK : 0;
    return script.call_to_slot("open it", SYS_openat, {AT_FDCWD, script.string(record.path()), flags});
  }
  flags &= ~O_NOFOLLOW;  // the way there is a link of /proc
  return open_again(script, ghost->second, flags, own_descriptors);
}

Fd FileOpener::open_here(uint32_t file_id, const TreeRoot& root) const {
  const image::File& record = file(file_id);
  if (const auto ghost = ghosts_.find(file_id); ghost != ghosts_.end()) {
    return open_file(fmt::format("/proc/self/fd/{}", ghost->second), O_PATH);
  }
  if (!root.directory) {
    return open_file(record.path(), O_PATH | O_NOFOLLOW);
  }
  Fd found = open_in_root(root.directory.get(), record.path());
  if (!found) {
    throw errno_error("cannot find {}", record.path());
  }
  return found;
}

const image::File& FileOpener::file(uint32_t file_id) const {
  const auto found = files_.find(file_id);
  if (found == files_.end()) {
    throw error("file {} isn't in the image", file_id);
  }
  return *found->second;
}

}  // namespace godwit
