#include <fcntl.h>
#include <sys/syscall.h>

#include "restore/state.h"

namespace godwit {

void emit_filesystem(ScriptBuilder& script, const image::Task& task) {
  const image::Filesystem& fs = task.filesystem();
  const image::Task* t = &task;
  script.subject(
      [t] { return fmt::format("task {}: working directory {}", t->pid(0), t->filesystem().cwd()); });
  const Slot cwd = script.call_to_slot(
      "open it", SYS_openat, {AT_FDCWD, script.string(fs.cwd()), O_PATH | O_DIRECTORY | O_CLOEXEC, 0});
  if (fs.root() != "/") {
    script.call("change the root", SYS_chroot, {script.string(fs.root())});
  }
  script.call("enter it", SYS_fchdir, {cwd});
  script.call("close it", SYS_close, {cwd});
  script.release(cwd);
  script.call("set the umask", SYS_umask, {fs.umask()});
}

}  // namespace godwit
