#include "program/pidfile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

Pidfile::Pidfile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw Error(fmt::format("{} isn't a regular file, and a pid file would take its place", path_), EEXIST,
                "give it another name");
  }
  const std::string directory =
      path_.find('/') == std::string::npos ? "." : path_.substr(0, path_.rfind('/') + 1);
  if (!path_.empty() && ::access(directory.c_str(), W_OK | X_OK) != 0) {
    throw errno_error("cannot write a pid file to {}", directory);
  }
}

Pidfile::~Pidfile() {
  if (written_) {
    ::unlink(path_.c_str());
  }
}

void Pidfile::write(pid_t pid) {
  const std::string beside = fmt::format("{}.{}", path_, ::getpid());
  try {
    const Fd file = open_file(beside, O_WRONLY | O_CREAT | O_EXCL, 0644);
    const std::string text = fmt::format("{}\n", pid);
    write_all(file.get(), std::as_bytes(std::span(text.data(), text.size())), beside);
    if (::rename(beside.c_str(), path_.c_str()) != 0) {
      throw errno_error("cannot write the pid to {}", path_);
    }
  } catch (const Error&) {
    ::unlink(beside.c_str());
    throw;
  }
  written_ = true;
}

}  // namespace godwit
