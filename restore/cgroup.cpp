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

/// Whoever enters a paused cgroup stops in it.
void check_not_paused(const std::string& directory) {
  const auto has = [&](const char* file, std::string_view value) {
    const Fd opened(::open((directory + file).c_str(), O_RDONLY | O_CLOEXEC));
    return opened && read_all(opened.get(), directory).find(value) != std::string::npos;
  };
  if (has("/freezer.state", "FR") || has("/cgroup.events", "frozen 1")) {
    throw error("cgroup {} is paused", directory).hint("resume it first");
  }
}

void move_there(const std::string& directory) {
  const std::string file = directory + "/cgroup.procs";
  const Fd opened = open_file(file, O_WRONLY);
  write_all(opened.get(), std::as_bytes(std::span("0", 1)), file);
}

/// No way leads out of the hierarchy.
void check_path(const std::string& path) {
  if (!path.starts_with('/') || (path + "/").find("/../") != std::string::npos ||
      path.find('\0') != std::string::npos) {
    throw error("cgroup '{}' isn't an absolute path", path);
  }
}

}  // namespace

CgroupStay::CgroupStay(const std::vector<CgroupRoot>& roots) {
  if (roots.empty()) {
    return;
  }
  const CgroupMounts mounts;
  const std::vector<Cgroup> own = parse_cgroups(read_file("/proc/self/cgroup"));
  try {
    for (const CgroupRoot& root : roots) {
      check_path(root.path);
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

void CgroupStay::leave() {
  while (!own_.empty()) {
    const std::string directory = std::move(own_.back());
    own_.pop_back();
    move_there(directory);
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
  make(there.directory, there.top);
  check_not_paused(there.directory);
  own_.push_back(before.directory);
  move_there(there.directory);
}

void CgroupStay::make(const std::string& directory, const std::string& top) {
  for (size_t end = top.size(); end != std::string::npos;) {
    end = directory.find('/', end + 1);
    const std::string one = directory.substr(0, end);
    if (::mkdir(one.c_str(), 0755) == 0) {
      made_.push_back(one);
    } else if (errno != EEXIST) {
      throw errno_error("cannot make the cgroup {}", one);
    }
  }
}

}  // namespace godwit
