#pragma once

#include <sys/types.h>

#include <string>

namespace godwit {

/// A file with a pid in it, for supervisors. It goes away again unless it is kept.
class Pidfile {
 public:
  /// Throws Error if something other than a regular file has that name, such as /dev/stdout: it would be
  /// replaced; or if nothing can be made beside it. An empty path is never written to.
  explicit Pidfile(std::string path);
  Pidfile(const Pidfile&) = delete;
  Pidfile& operator=(const Pidfile&) = delete;
  ~Pidfile();

  /// Whoever reads `path` finds the whole pid or what was there before. Throws Error.
  void write(pid_t pid);
  void keep() { written_ = false; }

 private:
  std::string path_;
  bool written_ = false;
};

}  // namespace godwit
