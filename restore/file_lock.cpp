#include "restore/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace godwit {

void emit_lock(ScriptBuilder& script, const image::FileLock& lock, int fd) {
  if (lock.kind() == image::FileLock::FLOCK) {
    script.call("take its flock(2) lock", SYS_flock, {fd, (lock.exclusive() ? LOCK_EX : LOCK_SH) | LOCK_NB});
    return;
  }
  struct flock range {};
  range.l_type = lock.exclusive() ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(lock.start());
  range.l_len = static_cast<off_t>(lock.length());
  const uint64_t address = script.object(range);
  const int command = lock.kind() == image::FileLock::OPEN_FILE ? F_OFD_SETLK : F_SETLK;
  script.call("take its record lock", SYS_fcntl, {fd, command, address});
}

}  // namespace godwit
