#pragma once

#include <map>
#include <string>
#include <vector>

namespace godwit {

/// What whoever asks for a dump says of mounts. Mount points are those inside the namespace.
struct MountOptions {
  std::map<std::string, std::string> external;  // mount point: name by which the restore finds what to bind
  std::vector<std::string> skip;                // mount points left out, with all that is mounted below
  std::vector<std::string> enable;              // further types of file systems, made again without content
};

}  // namespace godwit
