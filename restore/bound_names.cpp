#include "restore/bound_names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace godwit {

BoundNames::~BoundNames() {
  for (const Made& made : made_) {
    struct stat status {};
    if (::lstat(made.path.c_str(), &status) == 0 && status.st_dev == made.device &&
        status.st_ino == made.inode) {
      ::unlink(made.path.c_str());
    }
  }
}

void BoundNames::emit(ScriptBuilder& script, const std::string& path, uint64_t address) {
  const uint64_t status = script.reserve(sizeof(struct stat));
  script.call("look at its file", SYS_newfstatat, {AT_FDCWD, address, status, AT_SYMLINK_NOFOLLOW});
  awaited_.push_back({path, status});
}

void BoundNames::note() {
  for (Awaited& one : awaited_) {
    struct stat status {};
    std::memcpy(&status, reinterpret_cast<const void*>(one.status),  // NOLINT: as the script has it
                sizeof status);
    if (status.st_ino != 0) {
      made_.push_back({std::move(one.path), status.st_dev, status.st_ino});
    }
  }
  awaited_.clear();
}

}  // namespace godwit
