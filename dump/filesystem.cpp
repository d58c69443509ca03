#include <sys/stat.h>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

std::string directory_of(pid_t pid, const char* which, const char* name) {
  const std::string link = fmt::format("/proc/{}/{}", pid, which);
  std::string path = read_link(link);
  if (!path.starts_with('/')) {
    throw refusal("the {} {}, which can't be reached from here,", name, path);
  }
  if (path.ends_with(" (deleted)")) {
    struct stat status {};
    if (::stat(link.c_str(), &status) != 0 || status.st_nlink == 0) {
      throw refusal("the {} {}", name, path);
    }
  }
  return path;
}

}  // namespace

void collect_filesystem(pid_t pid, const procfs::Status& status, image::Filesystem& record) {
  record.set_cwd(directory_of(pid, "cwd", "working directory"));
  record.set_root(directory_of(pid, "root", "root directory"));
  record.set_umask(status.umask);
}

}  // namespace godwit
