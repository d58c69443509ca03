#include "restore/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <span>

#include "kernel/clock.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "kernel/log.h"

namespace godwit {

namespace {

constexpr uint64_t kEndLimit = 1'000'000'000;

/// Nobody can enter a cpuset of version 1 that has neither processors nor memory nodes, as a new one is:
/// Documentation/admin-guide/cgroup-v1/cpusets.rst.
void initialize_cpuset(const std::string& directory, const std::string& parent) {
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    const Fd file(::open((directory + name).c_str(), O_RDWR | O_CLOEXEC));
    if (!file || read_all(file.get(), directory + name) != "\n") {
      continue;
    }
    const std::string value = read_file(parent + name);
    if (::pwrite(file.get(), value.data(), value.size(), 0) < 0) {
      throw errno_error("cannot write {}{}", directory, name);
    }
  }
}

}  // namespace

void require_not_paused(const std::string& directory) {
  const auto has = [&](const char* file, std::string_view value) {
    const Fd opened(::open((directory + file).c_str(), O_RDONLY | O_CLOEXEC));
    return opened && read_all(opened.get(), directory).find(value) != std::string::npos;
  };
  if (has("/freezer.state", "FR") || has("/cgroup.events", "frozen 1")) {
    throw error("cgroup {} is paused", directory).hint("resume it first");
  }
}

void move_into_cgroup(const std::string& directory, pid_t who, const char* file) {
  const std::string path = directory + "/" + file;
  const Fd opened = open_file(path, O_WRONLY);
  const std::string number = std::to_string(who);
  write_all(opened.get(), std::as_bytes(std::span(number)), path);
}

MadeCgroups::~MadeCgroups() {
  const uint64_t start = monotonic_ns();
  for (auto directory = made_.rbegin(); directory != made_.rend(); ++directory) {
    // Who has been killed may still be on the way out.
    while (::rmdir(directory->c_str()) != 0) {
      if (errno != EBUSY || monotonic_ns() - start > kEndLimit) {
        log::warning("the cgroup {} stays: {}", *directory, std::strerror(errno));
        break;
      }
      const timespec pause{0, 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
}

bool MadeCgroups::make(const std::string& directory, const std::string& top) {
  if (::mkdir(directory.c_str(), 0755) != 0) {
    if (errno == EEXIST) {
      return false;
    }
    if (errno != ENOENT || directory.size() <= top.size()) {
      throw errno_error("cannot make the cgroup {}", directory);
    }
    make(directory.substr(0, directory.rfind('/')), top);
    if (::mkdir(directory.c_str(), 0755) != 0) {
      throw errno_error("cannot make the cgroup {}", directory);
    }
  }
  made_.push_back(directory);
  if (::access((directory + "/cpuset.cpu_exclusive").c_str(), F_OK) == 0) {
    initialize_cpuset(directory, directory.substr(0, directory.rfind('/')));
  }
  return true;
}

CgroupStay::CgroupStay(const std::vector<CgroupRoot>& roots) {
  if (roots.empty()) {
    return;
  }
  const CgroupMounts mounts;
  const std::vector<Cgroup> own = parse_cgroups(read_file("/proc/self/cgroup"));
  try {
    for (const CgroupRoot& root : roots) {
      if (!is_cgroup_path(root.path)) {
        throw error("cgroup '{}' isn't an absolute path", root.path);
      }
      bool found = false;
      for (const Cgroup& cgroup : own) {
        if (!root.controller || cgroup.has(*root.controller)) {
          enter(mounts, cgroup, root.path);
          found = true;
        }
      }
      // Of a controller that this kernel lacks there is nothing to be in; one without a name is version 2.
      if (!found) {
        log::warning("there are no cgroups of controller '{}' here: {} doesn't matter",
                     root.controller.value_or(""), root.path);
      }
    }
  } catch (...) {
    end();
    throw;
  }
}

CgroupStay::~CgroupStay() {
  end();
}

void CgroupStay::end() noexcept {
  try {
    leave();
  } catch (const Error& e) {
    log::warning("{}", e.what());
  }
}

void CgroupStay::leave() {
  while (!own_.empty()) {
    const std::string directory = std::move(own_.back());
    own_.pop_back();
    move_into_cgroup(directory, 0);
  }
}

void CgroupStay::enter(const CgroupMounts& mounts, const Cgroup& own, const std::string& path) {
  if (own.path == path) {
    return;
  }
  const CgroupMounts::Place before = mounts.find(own);
  const CgroupMounts::Place there = mounts.find({own.controllers, path});
  if (before.directory.empty() || there.directory.empty()) {
    throw error("cgroup {} of hierarchy '{}' isn't among our mounts", path, own.controllers);
  }
  made_.make(there.directory, there.top);
  require_not_paused(there.directory);
  own_.push_back(before.directory);
  move_into_cgroup(there.directory, 0);
}

}  // namespace godwit
