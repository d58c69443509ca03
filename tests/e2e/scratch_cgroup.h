#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace godwit::e2e {

/// Removes a cgroup and those below it, from each hierarchy. Those that have processes in them stay.
inline void remove_cgroups(const std::string& name) {
  std::error_code ignored;
  for (const auto& hierarchy : std::filesystem::directory_iterator("/sys/fs/cgroup", ignored)) {
    std::vector<std::string> directories{hierarchy.path() / name};
    for (size_t i = 0; i < directories.size(); ++i) {
      for (const auto& entry : std::filesystem::directory_iterator(directories[i], ignored)) {
        if (entry.is_directory(ignored)) {
          directories.push_back(entry.path());
        }
      }
    }
    for (auto directory = directories.rbegin(); directory != directories.rend(); ++directory) {
      ::rmdir(directory->c_str());
    }
  }
  ::rmdir(("/sys/fs/cgroup/" + name).c_str());
}

}  // namespace godwit::e2e
