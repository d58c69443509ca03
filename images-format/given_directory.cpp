#include "images-format/given_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "images-format/byte_source.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/frame.h"
#include "images-format/partial_directory.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr const char* kPartial = ".partial";
constexpr const char* kOld = ".old";

std::string partial(const std::string& name) {
  return name + kPartial;
}

std::string old(const std::string& name) {
  return name + kOld;
}

}  // namespace

GivenDirectory::GivenDirectory(int directory, std::string path)
    : path_(std::move(path)), directory_(open_at(directory, ".", O_RDONLY | O_DIRECTORY)) {
  if (::flock(directory_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw errno_error("cannot lock {}", path_).hint("another checkpoint is being written there");
  }
  mend();
}

GivenDirectory::~GivenDirectory() {
  if (published_.empty()) {
    remove_partial();
  } else {
    remove_old();
  }
}

Fd GivenDirectory::create_file(const std::string& name) {
  Fd file = open_at(directory_.get(), partial(name), O_WRONLY | O_CREAT | O_EXCL, 0600);
  files_.push_back(name);
  return file;
}

void GivenDirectory::publish(bool sync) {
  try {
    set_aside();
    const auto give_name = [&](const std::string& name) {
      rename_file(partial(name), name);
      published_.push_back(name);
    };
    for (const std::string& name : files_) {
      if (name != kMetadataFile) {
        give_name(name);
      }
    }
    give_name(kMetadataFile);
    if (sync) {
      sync_directory(directory_.get(), path_);
    }
  } catch (...) {
    retract();
    throw;
  }
}

void GivenDirectory::retract() noexcept {
  // Until the older one is back, the file with the frames says which files are the newer one's.
  for (auto name = published_.rbegin(); name != published_.rend(); ++name) {
    if (*name == kMetadataFile) {
      ::renameat(directory_.get(), kMetadataFile, directory_.get(), partial(kMetadataFile).c_str());
    } else {
      remove(*name);
    }
  }
  published_.clear();
  put_back();
  remove_partial();
  ::fsync(directory_.get());
}

bool GivenDirectory::exists(const std::string& name) const {
  return ::faccessat(directory_.get(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

GivenDirectory::Set GivenDirectory::find_set(const char* ending) const {
  const std::string name = kMetadataFile + std::string(ending);
  if (!exists(name)) {
    return {};
  }
  Set set{.state = Set::State::Foreign};
  try {
    // O_NONBLOCK: a FIFO must not hold us up.
    const Fd file = open_at(directory_.get(), name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    if (::lseek(file.get(), 0, SEEK_END) == 0) {
      return {.state = Set::State::Begun};
    }
    ::lseek(file.get(), 0, SEEK_SET);
    FdSource source(file.get(), name);
    FrameReader frames(source);
    set.state = Set::State::Begun;
    std::optional<Frame> last;
    while (std::optional<Frame> frame = frames.next()) {
      last = std::move(frame);
    }
    image::Closing closing;
    if (last && last->type == static_cast<uint32_t>(RecordType::Closing) &&
        closing.ParseFromArray(last->payload.data(), static_cast<int>(last->payload.size()))) {
      set.state = Set::State::Whole;
      set.payload_files = static_cast<size_t>(closing.payload_bytes_size());
    }
  } catch (const Error&) {
    // What it was until there, it is.
  }
  return set;
}

/// Puts things in order after a writer that was killed. Before anything is touched, whatever is no
/// checkpoint's is refused.
void GivenDirectory::mend() {
  using State = Set::State;
  const Set current = find_set("");
  const Set aside = find_set(kOld);
  const Set begun = find_set(kPartial);
  for (const auto& [set, ending] : {std::pair{current, ""}, std::pair{aside, kOld}}) {
    if (set.state == State::Foreign || set.state == State::Begun) {
      refuse(kMetadataFile + std::string(ending));
    }
  }
  if (begun.state == State::Foreign) {
    refuse(partial(kMetadataFile));
  }
  std::vector<std::string> half_published;
  for (size_t i = 0; i < kMaxPayloadFiles; ++i) {
    const std::string name = payload_file(i);
    if (exists(old(name)) && !aside.has(i)) {
      refuse(old(name));
    }
    if (exists(partial(name)) && begun.state == State::None) {
      refuse(partial(name));
    }
    if (!exists(name) || current.has(i)) {
      continue;
    }
    const bool orphan = current.state == State::None;
    if (orphan && aside.has(i) && !exists(old(name))) {
      continue;  // not aside yet, or back already
    }
    if (!orphan || !begun.has(i) || exists(partial(name))) {
      refuse(name);
    }
    half_published.push_back(name);
  }
  for (const std::string& name : half_published) {
    remove(name);
  }
  older_ = current.state == State::Whole ? std::optional(current.payload_files) : std::nullopt;
  if (aside.state == State::Whole) {
    aside_.emplace_back(kMetadataFile);
    for (size_t i = 0; i < aside.payload_files; ++i) {
      if (exists(old(payload_file(i)))) {
        aside_.push_back(payload_file(i));
      }
    }
    if (older_) {
      remove_old();
    } else {
      older_ = aside.payload_files;
      put_back();
    }
  }
  remove_partial();
}

void GivenDirectory::set_aside() {
  if (!older_) {
    return;
  }
  const auto move = [&](const std::string& name) {
    rename_file(name, old(name));
    aside_.push_back(name);
  };
  move(kMetadataFile);
  for (size_t i = 0; i < *older_; ++i) {
    if (exists(payload_file(i))) {  // else it is damaged
      move(payload_file(i));
    }
  }
}

void GivenDirectory::put_back() noexcept {
  while (!aside_.empty()) {
    const std::string& name = aside_.back();
    ::renameat(directory_.get(), old(name).c_str(), directory_.get(), name.c_str());
    aside_.pop_back();
  }
}

void GivenDirectory::remove_old() noexcept {
  while (!aside_.empty()) {
    remove(old(aside_.back()));
    aside_.pop_back();
  }
}

void GivenDirectory::remove_partial() noexcept {
  for (size_t i = 0; i < kMaxPayloadFiles; ++i) {
    remove(partial(payload_file(i)));
  }
  remove(partial(kMetadataFile));
}

void GivenDirectory::rename_file(const std::string& from, const std::string& to) const {
  // Not every file system knows RENAME_NOREPLACE (man 2 rename).
  int code = ::renameat2(directory_.get(), from.c_str(), directory_.get(), to.c_str(), RENAME_NOREPLACE) == 0
                 ? 0
                 : errno;
  if (code == EINVAL) {
    code = exists(to)                                                                      ? EEXIST
           : ::renameat(directory_.get(), from.c_str(), directory_.get(), to.c_str()) == 0 ? 0
                                                                                           : errno;
  }
  if (code != 0) {
    throw Error(fmt::format("cannot rename {} to {} in {}", from, to, path_), code);
  }
}

void GivenDirectory::remove(const std::string& name) const noexcept {
  ::unlinkat(directory_.get(), name.c_str(), 0);
}

void GivenDirectory::refuse(const std::string& name) const {
  throw Error(fmt::format("'{}' in {} is of no whole checkpoint, and a new one needs its name", name, path_),
              0, "move it away, or use another directory");
}

}  // namespace godwit
