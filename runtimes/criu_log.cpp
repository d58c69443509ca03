#include "runtimes/criu_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <string_view>

#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit::runtimes {

namespace {

constexpr std::string_view kMark = "Error (godwit): ";
constexpr off_t kLongestLog = off_t{16} << 20;
constexpr size_t kLongestLine = 4096;

}  // namespace

std::string failure_in_log(const std::string& path) {
  if (path.empty()) {
    return "";
  }
  try {
    const Fd log = open_file(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    struct stat status {};
    if (::fstat(log.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > kLongestLog) {
      return "";
    }
    const std::string text = read_all(log.get(), path);
    const size_t at = text.find(kMark);
    if (at == std::string::npos) {
      return "";
    }
    const size_t start = at + kMark.size();
    return text.substr(start, std::min(text.find('\n', start) - start, kLongestLine));
  } catch (const Error&) {
    return "";
  }
}

}  // namespace godwit::runtimes
