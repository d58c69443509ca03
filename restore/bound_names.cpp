#include "restore/bound_names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/mount.h"

namespace godwit {

BoundNames::~BoundNames() {
  for (const Made& made : made_) {
    const size_t slash = made.path.rfind('/');
    const std::string directory = made.path.substr(0, slash + 1);
    const std::string name = made.path.substr(slash + 1);
    const Fd parent = root_.directory ? open_in_root(root_.directory.get(), directory)
                                      : Fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    if (parent && ::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_dev == made.device && status.st_ino == made.inode) {
      ::unlinkat(parent.get(), name.c_str(), 0);
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
