#include "tests/e2e/runtime.h"

#include <sys/mount.h>

#include <vector>

#include "tests/e2e/proc.h"

namespace godwit::e2e {

Outcome with_criu(const std::string& line) {
  const std::string criu = CRIU_BINARY;
  return run({"/bin/sh", "-c",
              "export PATH=" + criu.substr(0, criu.rfind('/')) +
                  ":/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin; " + line + " </dev/null"});
}

void unmount_below(const std::string& directory) {
  std::vector<std::string> places;
  for (const std::string& line : lines_of(try_read("/proc/self/mountinfo").value_or(""))) {
    if (const std::string place = words_of(line).at(4); place.starts_with(directory)) {
      places.push_back(place);
    }
  }
  for (auto place = places.rbegin(); place != places.rend(); ++place) {
    ::umount2(place->c_str(), MNT_DETACH);
  }
}

}  // namespace godwit::e2e
