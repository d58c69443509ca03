// A mount namespace that is a plain copy of our own, as unshare(2) makes it, needs no description.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "dump/namespace.h"
#include "kernel/error.h"
#include "kernel/fd.h"

namespace godwit {

namespace {

/// What a mount is and where, without the numbers that differ in every namespace and without propagation:
/// "3:1 / /srv rw,relatime ext4 /dev/vda1 rw" of proc_pid_mountinfo(5).
std::string essence(std::string_view line) {
  constexpr size_t kFirstKept = 2;      // mount id, parent id
  constexpr size_t kFirstOptional = 6;  // "shared:1 master:2", up to a "-"
  std::string kept;
  bool behind_optional = false;
  for (size_t field = 0; !line.empty(); ++field) {
    const std::string_view word = line.substr(0, line.find(' '));
    line.remove_prefix(std::min(word.size() + 1, line.size()));
    behind_optional = behind_optional || (field >= kFirstOptional && word == "-");
    if (field >= kFirstKept && (field < kFirstOptional || behind_optional)) {
      kept += word;
      kept += ' ';
    }
  }
  return kept;
}

std::vector<std::string> mounts_of(pid_t pid) {
  const std::string text =
      read_file(pid == 0 ? "/proc/self/mountinfo" : fmt::format("/proc/{}/mountinfo", pid));
  std::vector<std::string> mounts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    mounts.push_back(essence(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  std::ranges::sort(mounts);  // a copy lists them in another order
  return mounts;
}

}  // namespace

bool has_copy_of_own_mounts(pid_t pid) {
  return mounts_of(0) == mounts_of(pid);
}

}  // namespace godwit
