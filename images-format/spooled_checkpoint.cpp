#include "images-format/spooled_checkpoint.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "images-format/partial_name.h"
#include "images-format/section.h"
#include "kernel/cancel.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr size_t kCopiedAtOnce = 1 << 20;
// A signal that asks for an end may come right before a call that waits.
constexpr int kPatienceMs = 100;

/// Not /tmp: it is often in memory, of which a checkpoint may need more than there is, and what is kept there
/// is gone when the machine starts anew.
std::string directory_for_copies() {
  const char* asked = std::getenv("TMPDIR");
  return asked != nullptr && *asked != '\0' ? asked : "/var/tmp";
}

Fd duplicate(int fd) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) {
    throw errno_error("cannot duplicate a descriptor");
  }
  return copy;
}

}  // namespace

/// Whatever is read of the stream is written to the copy.
class SpooledCheckpoint::Stream final : public SectionSource {
 public:
  Stream(int fd, std::string name, int copy, std::string copy_name)
      : fd_(fd), name_(std::move(name)), copy_(copy), copy_name_(std::move(copy_name)) {}

  size_t read(std::span<std::byte> out) override {
    const size_t got = read_stream(out);
    if (copying_) {
      write_all(copy_, out.first(got), copy_name_);
    }
    return got;
  }

  void pass(uint64_t bytes) override {
    buffer_.resize(kCopiedAtOnce);
    while (bytes > 0) {
      const auto part = std::span(buffer_).first(std::min<uint64_t>(bytes, buffer_.size()));
      const size_t got = read_some(part);
      if (got == 0) {
        throw Error("it ends inside a section", 0, "the checkpoint is incomplete");
      }
      write_all(copy_, part.first(got), copy_name_);
      bytes -= got;
    }
  }

  /// From here on it is only read.
  void stop_copying() { copying_ = false; }
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  size_t read_stream(std::span<std::byte> out) const {
    size_t used = 0;
    while (used < out.size()) {
      const size_t got = read_some(out.subspan(used));
      if (got == 0) {
        break;
      }
      used += got;
    }
    return used;
  }

  [[nodiscard]] size_t read_some(std::span<std::byte> out) const {
    for (;;) {
      check_cancelled();
      pollfd there{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&there, 1, kPatienceMs) <= 0) {
        continue;  // interrupted, perhaps: read(2) would wait
      }
      const ssize_t got = ::read(fd_, out.data(), out.size());
      if (got >= 0) {
        return static_cast<size_t>(got);
      }
      if (errno != EINTR && errno != EAGAIN) {
        throw errno_error("cannot read {}", name_);
      }
    }
  }

  int fd_;
  std::string name_;
  int copy_;
  std::string copy_name_;
  bool copying_ = true;
  std::vector<std::byte> buffer_;
};

SpooledCheckpoint::SpooledCheckpoint(int stream, std::string name)
    : directory_path_(directory_for_copies()),
      directory_(open_file(directory_path_, O_RDONLY | O_DIRECTORY)) {
  make_file();
  try {
    stream_ = std::make_unique<Stream>(stream, std::move(name), file_.get(),
                                       "the copy of it in " + directory_path_);
    layout_ = with_context([&] { return fmt::format("checkpoint {}", stream_->name()); },
                           [&] { return read_layout(*stream_); });
    image_.emplace(CheckpointImage::open_sections(duplicate(file_.get()), stream_->name(), layout_));
    with_context([&] { return fmt::format("checkpoint {}", stream_->name()); },
                 [&] { verify_pages(*image_); });
  } catch (...) {
    remove();
    throw;
  }
}

SpooledCheckpoint::~SpooledCheckpoint() {
  if (!accepted_) {
    remove();
  }
}

void SpooledCheckpoint::make_file() {
  file_ = Fd(::openat(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file_) {
    return;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR) {
    throw errno_error("cannot make a file in {}", directory_path_).hint("TMPDIR can name another directory");
  }
  // The file system has no files without a name.
  do {
    file_name_ = "godwit-checkpoint-" + random_suffix();
    file_ = Fd(::openat(directory_.get(), file_name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  } while (!file_ && errno == EEXIST);
  if (!file_) {
    file_name_.clear();
    throw errno_error("cannot make a file in {}", directory_path_).hint("TMPDIR can name another directory");
  }
}

void SpooledCheckpoint::give_name() {
  const std::string unnamed = fmt::format("/proc/self/fd/{}", file_.get());
  while (file_name_.empty()) {
    const std::string name = "godwit-checkpoint-" + random_suffix();
    if (::linkat(AT_FDCWD, unnamed.c_str(), directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      file_name_ = name;
    } else if (errno != EEXIST) {
      throw errno_error("cannot name a file in {}", directory_path_);
    }
  }
}

void SpooledCheckpoint::accept() {
  with_context(
      [&] { return fmt::format("checkpoint {}", stream_->name()); },
      [&] {
        give_name();
        // A copy that others find must be whole before the stream's last page is gone.
        std::array<std::byte, kPageSize> page;
        encode_section({.type = SectionType::End, .bytes = 0, .payload_before = layout_.payload_bytes}, page);
        write_all(file_.get(), page, file_name_);
        encode_section({.type = SectionType::Parted, .bytes = 0, .payload_before = layout_.payload_bytes},
                       page);
        write_all(file_.get(), page, file_name_);
        stream_->stop_copying();
        read_end(*stream_, layout_);
        accepted_ = true;
        if (!read_parting(*stream_, layout_)) {
          throw Error("its dump didn't say that it has ended the tree, which may still run", 0,
                      "if it doesn't, restore the copy that is kept, with -i");
        }
      });
}

std::string SpooledCheckpoint::kept() const {
  return accepted_ && !file_name_.empty() ? directory_path_ + "/" + file_name_ : "";
}

void SpooledCheckpoint::remove() noexcept {
  if (!file_name_.empty()) {
    ::unlinkat(directory_.get(), file_name_.c_str(), 0);
    file_name_.clear();
  }
}

}  // namespace godwit
