#include "compat/workplace.h"

#include <fcntl.h>
#include <unistd.h>

#include "compat/log_file.h"
#include "kernel/error.h"

namespace godwit::compat {

namespace {

std::string path_of(const Fd& directory) {
  return read_link(fmt::format("/proc/self/fd/{}", directory.get()));
}

}  // namespace

Workplace::Workplace(const Settings& settings, const std::string& default_log)
    : images(open_file(settings.images_dir, O_PATH | O_DIRECTORY)), images_path(path_of(images)) {
  const Fd work = settings.work_dir.empty() ? Fd() : open_file(settings.work_dir, O_PATH | O_DIRECTORY);
  if (::fchdir(work ? work.get() : images.get()) != 0) {
    throw errno_error("cannot work in {}", settings.work_dir);
  }
  const std::string& log = settings.log_file.empty() ? default_log : settings.log_file;
  open_log(settings.log_to_stderr ? "" : log, settings.log_level);
}

}  // namespace godwit::compat
