#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>

/// What `podman container inspect` and `docker container inspect` print, as values. The two mean the same by
/// the same words.
namespace godwit::runtimes {

struct InspectedContainer {
  std::string id;    // 64 hexadecimal digits
  std::string name;  // without the slash that Docker has in front
  std::string status;
  bool running = false;
  bool paused = false;
  bool restarting = false;
  pid_t pid = 0;                // of the first task; 0: none
  bool removed_at_end = false;  // --rm
  std::string restart_policy;   // "always"; "no" or empty: none
  std::string root;             // of its file system, outside; empty: not said
  std::string directory;        // in which Podman keeps what is the container's; Docker doesn't say
  std::map<std::string, std::string> mounts;  // by mount point inside: what is mounted there
  std::string network;                        // "bridge 172.17.0.2"
};

/// Throws Error for what isn't the description of one container: no JSON, a value missing or of another
/// type, an id that can't be one.
[[nodiscard]] InspectedContainer parse_inspected(std::string_view text);

}  // namespace godwit::runtimes
