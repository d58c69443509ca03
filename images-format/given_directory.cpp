#include "images-format/given_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "images-format/page_store.h"
#include "images-format/partial_directory.h"
#include "kernel/error.h"

namespace godwit {

namespace {

std::string partial(const std::string& name) {
  return name + ".partial";
}

}  // namespace

GivenDirectory::GivenDirectory(int directory, std::string path)
    : path_(std::move(path)), directory_(open_at(directory, ".", O_RDONLY | O_DIRECTORY)) {
  if (::flock(directory_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw errno_error("cannot lock {}", path_).hint("another checkpoint is being written there");
  }
  remove_partial();
}

GivenDirectory::~GivenDirectory() {
  if (!files_.empty()) {
    remove_partial();
  }
}

Fd GivenDirectory::create_file(const std::string& name) {
  Fd file = open_at(directory_.get(), partial(name), O_WRONLY | O_CREAT | O_EXCL, 0600);
  files_.push_back(name);
  return file;
}

void GivenDirectory::publish(bool sync) {
  remove_checkpoint();
  try {
    for (const std::string& name : files_) {
      if (name != kMetadataFile) {
        rename_file(name);
      }
    }
    rename_file(kMetadataFile);
    files_.clear();
    if (sync) {
      sync_directory(directory_.get(), path_);
    }
  } catch (...) {
    retract();
    throw;
  }
}

void GivenDirectory::retract() noexcept {
  remove_checkpoint();
}

void GivenDirectory::rename_file(const std::string& name) {
  if (::renameat(directory_.get(), partial(name).c_str(), directory_.get(), name.c_str()) != 0) {
    throw errno_error("cannot rename {} to {} in {}", partial(name), name, path_);
  }
}

void GivenDirectory::remove_partial() noexcept {
  ::unlinkat(directory_.get(), partial(kMetadataFile).c_str(), 0);
  for (size_t i = 0; i < kMaxPayloadFiles; ++i) {
    ::unlinkat(directory_.get(), partial(payload_file(i)).c_str(), 0);
  }
}

void GivenDirectory::remove_checkpoint() noexcept {
  ::unlinkat(directory_.get(), kMetadataFile, 0);
  for (size_t i = 0; i < kMaxPayloadFiles; ++i) {
    ::unlinkat(directory_.get(), payload_file(i).c_str(), 0);
  }
}

}  // namespace godwit
