#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

/// runc's state.json, as values. Whoever may write to runc's directory is root, but the file may be damaged,
/// or of another version: nothing in it is believed before it has been looked at.
namespace godwit::runtimes {

inline constexpr size_t kLongestState = size_t{4} << 20;  // bytes; usually it has six thousand

struct RuncState {
  struct Mount {
    std::string destination;  // inside
    std::string kind;         // "bind", or the type of the file system
  };
  struct Namespace {
    std::string type;  // "NEWNET"
    std::string path;  // empty: a new one was made
  };

  std::string id;
  pid_t pid = 0;            // of the first task; also when that has ended
  uint64_t start_time = 0;  // clock ticks since boot
  std::string root;
  std::string bundle;   // empty: not said
  std::string manager;  // who had runc make the container, as its label io.container.manager says; or empty
  std::vector<Mount> mounts;
  std::vector<std::string> devices;       // paths inside
  std::vector<std::string> masked_paths;  // likewise
  std::vector<Namespace> namespaces;
  std::map<std::string, std::string> cgroups;  // directories by controller
  std::vector<std::string> standard_files;     // what descriptors 0, 1, 2 were at the start
};

/// Throws Error for what isn't the state of a container: no JSON, a value missing or of another type, a pid
/// that can't be one, a path that isn't absolute.
[[nodiscard]] RuncState parse_runc_state(std::string_view text);

}  // namespace godwit::runtimes
