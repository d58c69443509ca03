#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace godwit::runtimes {

/// A namespace that the container joined when it was started: it belongs to somebody else.
struct JoinedNamespace {
  std::string kind;  // "net"
  uint64_t inode = 0;
  std::string path;  // where the runtime found it
  std::string name;  // by which the runtime hands it over when it restores
};

/// A container that runs, as its runtime's state tells of it and /proc confirms.
struct Container {
  std::string runtime;  // "runc"
  std::string name;
  std::string id;                              // empty: the name is all there is
  pid_t pid = 0;                               // of its first task
  uint64_t start_time = 0;                     // of that, in clock ticks since boot: a pid is used again
  std::string root;                            // of its file system, outside
  std::string bundle;                          // empty: the runtime doesn't say
  std::map<std::string, std::string> cgroups;  // directories by controller; "" is the hierarchy of version 2
  std::string network;                         // in words; empty: see `joined`
  /// Mount points inside, and the names by which the runtime hands over what is mounted there when it
  /// restores; of managers that hand it over by themselves, where it comes from.
  std::map<std::string, std::string> external_mounts;
  std::vector<JoinedNamespace> joined;
  /// What its descriptors 0, 1 and 2 were when it was started: "/dev/null", "pipe:[4711]".
  std::vector<std::string> standard_files;
};

}  // namespace godwit::runtimes
